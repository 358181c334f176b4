//! Runs the event loops over a simulated system. `cargo xtask simulate` builds it as it must be: with
//! `--cfg simulation`.

#[cfg(simulation)]
fn main() -> std::process::ExitCode {
    echo_server::simulation::main()
}

#[cfg(not(simulation))]
fn main() {}
