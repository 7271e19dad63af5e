//! Generated artefacts, benches and release chores: `cargo xtask <chore>`.

mod prove;
mod shapes;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["prove", campaigns @ ..] => prove::prove(campaigns),
        ["shapes", botocore] => shapes::generate(botocore.as_ref()),
        _ => Err("usage: cargo xtask shapes BOTOCORE_DIR | prove [CAMPAIGN...]\n  BOTOCORE_DIR is the folder `botocore` of an installed PyPI package".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("error: {message}\n").as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}
