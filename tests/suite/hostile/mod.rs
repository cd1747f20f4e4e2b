//! What nobody means well: files that would crash, stop or mislead a program that trusted them.

mod files;
