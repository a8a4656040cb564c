//! The `pdarts` program; everything lives in the library.

fn main() {
    pdarts::cli::run()
}
