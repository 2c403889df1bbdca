//! Prints a generated file: `redoubt-abi-generate header` or `redoubt-abi-generate markdown`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("header") => print!("{}", redoubt_abi::generate::c_header()),
        Some("markdown") => print!("{}", redoubt_abi::generate::markdown()),
        _ => {
            eprintln!("usage: redoubt-abi-generate header|markdown");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
