//! A timeline of what this process's threads do, in the trace format of Chrome, which Perfetto opens.
//!
//! Off until [`start`]; a span then costs a clock reading at either end. Times are microseconds since 1970, so that the
//! timelines of several ranks can be laid side by side.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

static IS_ON: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static NUM_THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static THREAD: Cell<Option<u64>> = const { Cell::new(None) };
}

/// One entry of `traceEvents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub name: String,
    /// What kind of thing.
    #[serde(rename = "cat")]
    pub category: String,
    /// `X` for a span, `M` for the name of a thread or process.
    #[serde(rename = "ph")]
    pub phase: char,
    /// Begin, in microseconds since 1970.
    #[serde(rename = "ts")]
    pub begin_us: f64,
    /// Microseconds.
    #[serde(rename = "dur")]
    pub duration_us: f64,
    /// The rank.
    #[serde(rename = "pid")]
    pub rank: usize,
    /// Threads of this process in the order of their first events.
    #[serde(rename = "tid")]
    pub thread: u64,
    /// The name, for metadata.
    #[serde(rename = "args", skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Name>,
}

/// The argument of a metadata event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Name {
    name: String,
}

/// A span under way; it ends when dropped.
#[must_use = "a span lasts until it is dropped"]
pub struct Span {
    category: &'static str,
    name: String,
    begin: Instant,
}

/// Begins to record.
pub fn start() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Begins a span on this thread; nothing when the trace is off.
pub fn span(category: &'static str, name: impl Display) -> Option<Span> {
    let is_on = IS_ON.load(Ordering::Relaxed);
    is_on.then(|| Span { category, name: name.to_string(), begin: Instant::now() })
}

/// Takes all events so far, as those of rank `rank`.
pub fn take(rank: usize) -> Vec<Event> {
    let mut events = std::mem::take(&mut *EVENTS.lock().unwrap_or_else(PoisonError::into_inner));
    events.iter_mut().for_each(|event| event.rank = rank);
    if !events.is_empty() {
        events.insert(0, metadata("process_name", rank, 0, format!("rank {rank}")));
    }
    events
}

/// A document for Perfetto.
///
/// # Errors
/// Never for events from here; serde's signature.
pub fn to_json(events: &[Event]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        trace_events: &'a [Event],
        display_time_unit: &'static str,
    }
    serde_json::to_string(&Document { trace_events: events, display_time_unit: "ms" })
}

impl Drop for Span {
    fn drop(&mut self) {
        let duration_us = self.begin.elapsed().as_secs_f64() * 1e6;
        let (thread, is_new) = thread_number();
        let mut events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if is_new {
            let name = thread::current().name().unwrap_or("unnamed").to_owned();
            events.push(metadata("thread_name", 0, thread, name));
        }
        let (name, category) = (std::mem::take(&mut self.name), self.category.to_owned());
        let begin_us = since_1970_us(self.begin);
        events.push(Event { name, category, phase: 'X', begin_us, duration_us, rank: 0, thread, arguments: None });
    }
}

fn metadata(what: &str, rank: usize, thread: u64, name: String) -> Event {
    Event {
        name: what.into(),
        category: String::new(),
        phase: 'M',
        begin_us: 0.0,
        duration_us: 0.0,
        rank,
        thread,
        arguments: Some(Name { name }),
    }
}

/// This thread's number, and whether it got it now.
fn thread_number() -> (u64, bool) {
    THREAD.with(|number| match number.get() {
        Some(known) => (known, false),
        None => {
            let new = NUM_THREADS.fetch_add(1, Ordering::Relaxed);
            number.set(Some(new));
            (new, true)
        }
    })
}

/// As all others by one reading of both clocks, so that a span within another lies in it on the timeline, too.
fn since_1970_us(instant: Instant) -> f64 {
    static CLOCKS: LazyLock<(Instant, Duration)> =
        LazyLock::new(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    let (reading, since_1970) = *CLOCKS;
    let time = since_1970 + instant.saturating_duration_since(reading);
    time.saturating_sub(reading.saturating_duration_since(instant)).as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_recorded_from_the_start_on_with_their_thread() {
        assert!(span("test", "too early").is_none());
        start();
        let outer = span("test", "outer");
        drop(span("test", "inner"));
        drop(outer);
        let events = take(3);
        let named = |name: &str| events.iter().find(|event| event.name == name && event.category == "test").unwrap();
        let (outer, inner) = (named("outer"), named("inner"));
        assert!(outer.begin_us <= inner.begin_us);
        assert!(outer.begin_us + outer.duration_us + 1.0 >= inner.begin_us + inner.duration_us);
        assert_eq!((outer.rank, outer.thread), (3, inner.thread));
        let document = to_json(&events).unwrap();
        assert!(document.starts_with(r#"{"traceEvents":["#) && document.contains(r#""name":"thread_name""#));
    }
}
