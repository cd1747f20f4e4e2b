//! The life of the process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // Without a choice the TLS library panics at the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    warmd::cli::main().await
}
