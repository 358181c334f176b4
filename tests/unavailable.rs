//! Test files that this system cannot run, reported with the reason.
#![cfg(not(target_os = "linux"))]

echo_test_support::ignored! {
    "it needs network namespaces of Linux": all_of_half_open, all_of_peer_networks, all_of_many_hosts;
    "it needs /proc of Linux": all_of_server_cpu;
}

#[cfg(windows)]
echo_test_support::ignored! {
    "it needs SIGSTOP": all_of_suspended;
    "there is no systemd": all_of_systemd;
}
