//! Workloads of the attack profile.

fn main() {}
