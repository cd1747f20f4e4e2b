//! What nobody means well: files, values and ids that would crash, stop or mislead a program that trusted them.

mod collisions;
mod files;
mod sizes;
mod values;
