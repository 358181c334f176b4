//! Runs the load loop of `bench` over a simulated system. `cargo xtask simulate` builds it as it must be: with
//! `--cfg simulation`.

#[cfg(simulation)]
fn main() -> std::process::ExitCode {
    echo_client::bench::simulation::main()
}

#[cfg(not(simulation))]
fn main() {}
