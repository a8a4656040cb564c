//! `launch/setup.sh` and `launch/cargo.sh` on machines that lack one thing or another: what they install, and the one
//! line that says what to do.

mod advice;
mod install;
mod machine;
#[path = "../program/script.rs"]
mod script;
