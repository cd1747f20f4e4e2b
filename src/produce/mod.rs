//! What is computed for the targets: pure mathematics, the same bits whatever the order of the rows.

pub mod bm25;
pub mod interactions;
pub mod neighbours;
pub mod ranking;
pub mod scoring;
pub mod trend;

#[cfg(test)]
mod tests;
