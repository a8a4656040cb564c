//! From a file's bytes to text, whichever editor wrote it.

use crate::genotype::error::GenotypeError;

/// The text in `bytes`: UTF-8, or UTF-16 as some Windows programs write, with a byte-order mark or without. What is in
/// another encoding (a comment, say) becomes replacement characters; cells are plain ASCII in all of them.
///
/// # Errors
/// [`GenotypeError::NotText`] for binary data, with what it looks like.
pub fn decode(bytes: &[u8]) -> Result<String, GenotypeError> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks().0.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    let sample = &bytes[..bytes.len().min(256)];
    let zeros = |parity: usize| sample.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ if 3 * zeros(1) > sample.len() && zeros(0) == 0 => utf16(bytes, u16::from_le_bytes),
        _ if 3 * zeros(0) > sample.len() && zeros(1) == 0 => utf16(bytes, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    let binary: &[(&[u8], &str)] = &[
        (b"PK\x03\x04", "a zip archive, as torch.save writes"),
        (b"\x80", "a pickle"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x93NUMPY", "an array of numpy"),
        (b"%PDF", "a PDF"),
        (b"\x89PNG", "a picture"),
    ];
    match binary.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, found)) => Err(GenotypeError::NotText { found }),
        None if text.contains('\0') => Err(GenotypeError::NotText { found: "binary data" }),
        None => Ok(text.trim_start_matches('\u{feff}').to_owned()),
    }
}
