//! Numbers that several commands take, with the bounds that they have in configurations.

use std::num::NonZeroUsize;

use clap::builder::TypedValueParser;
use clap::value_parser;

/// Far above any machine's cores, and few enough to start: as of `run.threads`.
const MAX_THREADS: i64 = 1024;

/// CPU threads, of which 0 may mean as many as there are cores for.
pub fn threads() -> impl TypedValueParser<Value = usize> {
    value_parser!(u16).range(0..=MAX_THREADS).map(usize::from)
}

/// CPU threads, one or more.
pub fn some_threads() -> impl TypedValueParser<Value = NonZeroUsize> {
    let number = value_parser!(u16).range(1..=MAX_THREADS);
    number.map(|number| NonZeroUsize::new(number.into()).unwrap_or(NonZeroUsize::MIN))
}
