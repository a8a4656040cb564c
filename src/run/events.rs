//! TensorBoard event files: scalars in TensorFlow's record framing and protobuf, encoded by hand.
//!
//! A record is the payload's length (`u64`), the masked CRC-32C of these 8 bytes, the payload and its
//! masked CRC-32C, all little-endian. A payload is an `Event` message; the field numbers below are
//! those of TensorBoard's `event.proto` and `summary.proto`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::RunError;
use super::environment::since_epoch;
use crate::world::hostname;

const NAME: &str = "events.out.tfevents.";

/// Writes one event file; a run has one per start.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

/// The part of an `Event` that says what happened.
enum What<'a> {
    /// Names the format, first in each file.
    FileVersion,
    /// The run starts (again) here: readers discard what they read before for this step and later ones.
    Start,
    Scalar {
        tag: &'a str,
        value: f32,
    },
}

impl EventWriter {
    /// Opens a new file in `directory` for a process whose first point will be at `first_step` or later.
    ///
    /// TensorBoard then forgets the points of earlier files from `first_step` on, so that the steps a
    /// resumed run repeats show once. For that, all scalars must count steps alike, from the start of
    /// the run. A run resumed after 600 steps starts at 601, a new one at 0.
    ///
    /// # Errors
    /// [`RunError::Read`] or [`RunError::Write`].
    pub fn create(directory: &Path, first_step: u64) -> Result<Self, RunError> {
        let seconds = start_seconds(directory).map_err(RunError::read(directory))?;
        let path = directory.join(format!("{NAME}{seconds:010}.{}.{}.0", hostname(), process::id()));
        let file = File::create_new(&path).map_err(RunError::write(&path))?;
        let mut events = Self { path, file: BufWriter::new(file) };
        events.write(0, &What::FileVersion)?;
        events.write(first_step, &What::Start)?;
        events.flush()?;
        Ok(events)
    }

    /// Adds one point to the curve `tag`; a `/` in it groups curves, as in `train/loss`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn add_scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), RunError> {
        self.write(step, &What::Scalar { tag, value: value as f32 })
    }

    /// Shows all points so far to a TensorBoard that is watching.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush().map_err(RunError::write(&self.path))
    }

    fn write(&mut self, step: u64, what: &What) -> Result<(), RunError> {
        let record = record(&event(since_epoch().as_secs_f64(), step, what));
        self.file.write_all(&record).map_err(RunError::write(&self.path))
    }
}

/// The time for a new file's name: now, but after all others, because TensorBoard reads by name.
fn start_seconds(directory: &Path) -> io::Result<u64> {
    let mut seconds = since_epoch().as_secs();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let earlier = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('.').next()?.parse::<u64>().ok());
        if let Some(earlier) = earlier {
            seconds = seconds.max(earlier.saturating_add(1));
        }
    }
    Ok(seconds)
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 16);
    record.extend(length);
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend(payload);
    record.extend(masked_crc32c(payload).to_le_bytes());
    record
}

/// A checksum that stays sound where the data itself holds checksums.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `wall_time` in seconds since 1970.
fn event(wall_time: f64, step: u64, what: &What) -> Vec<u8> {
    let mut event = Vec::new();
    put_key(&mut event, 1, WireType::Fixed64);
    event.extend(wall_time.to_le_bytes());
    put_key(&mut event, 2, WireType::Varint);
    put_varint(&mut event, step);
    match what {
        What::FileVersion => put_bytes(&mut event, 3, b"brain.Event:2"),
        What::Scalar { tag, value } => {
            let mut scalar = Vec::new(); // Summary.Value
            put_bytes(&mut scalar, 1, tag.as_bytes());
            put_key(&mut scalar, 2, WireType::Fixed32);
            scalar.extend(value.to_le_bytes());
            let mut summary = Vec::new();
            put_bytes(&mut summary, 1, &scalar);
            put_bytes(&mut event, 5, &summary);
        }
        What::Start => {
            let mut session_log = Vec::new();
            put_key(&mut session_log, 1, WireType::Varint);
            put_varint(&mut session_log, 1); // SessionLog.START
            put_bytes(&mut event, 7, &session_log);
        }
    }
    event
}

#[derive(Copy, Clone)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

fn put_key(message: &mut Vec<u8>, field: u64, wire_type: WireType) {
    put_varint(message, field << 3 | wire_type as u64);
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(message, field, WireType::Bytes);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What TensorBoard's own RecordWriter and protobuf classes write for the same events.
    #[test]
    fn records_equal_those_of_tensorboard() {
        let scalar = What::Scalar { tag: "train/loss", value: 2.25 };
        for (step, what, expected) in [
            (
                300,
                scalar,
                "2100000000000000017becf60900002040fc54d94110ac022a130a110a0a747261696e2f6c6f73731500001040d0708b4d",
            ),
            (300, What::Start, "100000000000000095fbfe180900002040fc54d94110ac023a020801b94512a3"),
        ] {
            let record = record(&event(1_700_000_000.5, step, &what));
            let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    /// CRC-32C bit by bit, from the polynomial.
    fn crc32c_by_definition(data: &[u8]) -> u32 {
        !data.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
        })
    }

    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (head, tail) = bytes.split_at(length);
        *bytes = tail;
        head
    }

    fn take_varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = take(bytes, 1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    /// The fields of a message: number, value where it is a varint, bytes where not.
    fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
        let mut fields = Vec::new();
        while !message.is_empty() {
            let key = take_varint(&mut message);
            let (value, bytes): (u64, &[u8]) = match key & 7 {
                0 => (take_varint(&mut message), &[]),
                1 => (0, take(&mut message, 8)),
                2 => {
                    let length = take_varint(&mut message) as usize;
                    (0, take(&mut message, length))
                }
                5 => (0, take(&mut message, 4)),
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value, bytes));
        }
        fields
    }

    fn payloads(mut file: &[u8]) -> Vec<&[u8]> {
        let mut payloads = Vec::new();
        while !file.is_empty() {
            let length = take(&mut file, 8);
            let check = |data: &[u8], file: &mut &[u8]| {
                let masked = u32::from_le_bytes(take(file, 4).try_into().unwrap());
                let crc = crc32c_by_definition(data);
                assert_eq!(masked, crc.rotate_right(15).wrapping_add(0xa282_ead8));
            };
            check(length, &mut file);
            let payload = take(&mut file, u64::from_le_bytes(length.try_into().unwrap()) as usize);
            check(payload, &mut file);
            payloads.push(payload);
        }
        payloads
    }

    #[test]
    fn file_decodes_to_version_start_and_scalars() {
        let directory = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(directory.path(), 300).unwrap();
        events.add_scalar("train/loss", 300, 0.5).unwrap();
        events.add_scalar("valid/top1", u64::from(u32::MAX) + 1, f64::NAN).unwrap();
        events.flush().unwrap();

        let file = fs::read(&events.path).unwrap();
        let decoded: Vec<_> = payloads(&file).into_iter().map(fields).collect();
        assert_eq!(decoded.len(), 4);
        for event in &decoded {
            let wall_time = f64::from_le_bytes(event[0].2.try_into().unwrap());
            assert!(event[0].0 == 1 && (since_epoch().as_secs_f64() - wall_time).abs() < 60.0);
        }
        assert_eq!(decoded[0][1..], [(2, 0, &[][..]), (3, 0, b"brain.Event:2")]);
        assert_eq!(decoded[1][1..], [(2, 300, &[][..]), (7, 0, &[0x08, 1])]);
        let scalar = |event: &[(u64, u64, &[u8])]| {
            let value = fields(fields(event[2].2)[0].2);
            let tag = String::from_utf8(value[0].2.to_vec()).unwrap();
            (event[1].1, tag, f32::from_le_bytes(value[1].2.try_into().unwrap()))
        };
        assert_eq!(scalar(&decoded[2]), (300, "train/loss".to_owned(), 0.5));
        let (step, tag, value) = scalar(&decoded[3]);
        assert_eq!((step, tag.as_str()), (1 << 32, "valid/top1"));
        assert!(value.is_nan());
    }

    #[test]
    fn files_of_later_starts_sort_later() {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..3).map(|step| EventWriter::create(directory.path(), step).unwrap().path).collect();
        assert!(paths.is_sorted() && paths[0] < paths[1] && paths[1] < paths[2], "{paths:?}");
    }

    #[test]
    fn full_device_is_one_clear_line() {
        let path = PathBuf::from("/dev/full");
        let file = BufWriter::new(fs::OpenOptions::new().write(true).open(&path).unwrap());
        let mut events = EventWriter { path, file };
        events.add_scalar("train/loss", 1, 0.5).unwrap();
        let message = events.flush().unwrap_err().to_string();
        assert!(message.contains("/dev/full") && message.contains("free some space"), "{message}");
    }
}
