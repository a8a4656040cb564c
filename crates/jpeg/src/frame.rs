//! The segments of a file: what the image is, and the tables that its scans use.

use super::{JpegError, Shrink, huffman::HuffmanTable, pixels::Colour};

/// One component of the image.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    id: u8,
    /// Blocks of a unit, which say how finely the component is sampled.
    pub across: usize,
    pub down: usize,
    pub quantiser: usize,
}

/// What a file says of its image before the first scan.
#[derive(Clone, Debug)]
pub struct Frame {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    pub(super) is_progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) colour: Colour,
    /// The most blocks of any component.
    pub(super) across: usize,
    pub(super) down: usize,
}

/// One scan: its components with the numbers of their tables, and what it tells of their coefficients.
#[derive(Clone, Debug)]
pub(super) struct ScanHeader {
    /// Component, DC table, AC table.
    pub components: Vec<(usize, usize, usize)>,
    pub first: usize,
    pub last: usize,
    pub high_bit: u32,
    pub low_bit: u32,
}

/// What comes next in a file.
pub(super) enum Next {
    Frame(Frame),
    /// A scan, with the place where its data begins.
    Scan(ScanHeader, usize),
    End,
}

/// A Huffman table, and whether this file has defined it: those of files before stay to be compared with.
#[derive(Debug, Default)]
pub(super) struct Slot {
    table: Option<HuffmanTable>,
    is_defined: bool,
}

impl Slot {
    pub fn table(&self) -> Option<&HuffmanTable> {
        self.table.as_ref().filter(|_| self.is_defined)
    }
}

/// Tables and settings in force.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub dc: [Slot; 4],
    pub ac: [Slot; 4],
    /// In the order of the file.
    pub quantisers: [Option<[u16; 64]>; 4],
    pub restart_interval: usize,
    is_jfif: bool,
    adobe_transform: Option<u8>,
}

const CUT_SHORT: JpegError = JpegError::CutShort;

impl Tables {
    /// Forgets what one file must not leave to the next.
    pub fn reset(&mut self) {
        self.dc.iter_mut().chain(&mut self.ac).for_each(|slot| slot.is_defined = false);
        self.quantisers = [None; 4];
        self.restart_interval = 0;
        self.is_jfif = false;
        self.adobe_transform = None;
    }

    /// Reads segments from `*position` on, up to the next that says what to do.
    pub fn read(&mut self, file: &[u8], position: &mut usize, frame: Option<&Frame>) -> Result<Next, JpegError> {
        loop {
            let marker = next_marker(file, position)?;
            match marker {
                0xd8 | 0x01 | 0xd0..=0xd7 => continue,
                0xd9 => return Ok(Next::End),
                _ => {}
            }
            let body = segment(file, position)?;
            match marker {
                0xc4 => self.read_huffman(body)?,
                0xdb => self.read_quantisers(body)?,
                0xdd => self.restart_interval = usize::from(word(body, 0)?),
                0xe0 => self.is_jfif |= body.starts_with(b"JFIF\0"),
                0xee if body.starts_with(b"Adobe") => self.adobe_transform = body.get(11).copied(),
                0xc0..=0xc2 => return Ok(Next::Frame(Frame::read(body, marker == 0xc2)?)),
                0xc3 | 0xc5..=0xc7 | 0xcd..=0xcf => {
                    return Err(JpegError::Unsupported("of the lossless and the hierarchical kind"));
                }
                0xc9..=0xcb => return Err(JpegError::Unsupported("with arithmetic coding")),
                0xda => {
                    let frame = frame.ok_or(JpegError::Damaged("has a scan before its header"))?;
                    return Ok(Next::Scan(ScanHeader::read(body, frame)?, *position));
                }
                _ => {}
            }
        }
    }

    fn read_huffman(&mut self, mut body: &[u8]) -> Result<(), JpegError> {
        while let Some((&selector, rest)) = body.split_first() {
            let counts: [u8; 16] = *rest.first_chunk().ok_or(CUT_SHORT)?;
            let num_symbols = counts.iter().map(|&count| usize::from(count)).sum::<usize>();
            let symbols = rest.get(16..16 + num_symbols).ok_or(JpegError::HuffmanTable)?;
            body = &rest[16 + num_symbols..];
            let tables = match selector >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(JpegError::HuffmanTable),
            };
            let slot = tables.get_mut(usize::from(selector & 15)).ok_or(JpegError::HuffmanTable)?;
            slot.table = Some(HuffmanTable::new(counts, symbols, selector >> 4 == 1, slot.table.take())?);
            slot.is_defined = true;
        }
        Ok(())
    }

    fn read_quantisers(&mut self, mut body: &[u8]) -> Result<(), JpegError> {
        const DAMAGED: JpegError = JpegError::Damaged("has a damaged quantisation table");
        while let Some((&selector, rest)) = body.split_first() {
            let bytes = if selector >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * bytes).ok_or(DAMAGED)?;
            body = &rest[64 * bytes..];
            let mut table = [0; 64];
            for (entry, value) in table.iter_mut().zip(values.chunks_exact(bytes)) {
                *entry = value.iter().fold(0, |sum, &byte| sum << 8 | u16::from(byte));
            }
            *self.quantisers.get_mut(usize::from(selector & 15)).ok_or(DAMAGED)? = Some(table);
        }
        Ok(())
    }

    /// How the components make colours, by the rules of the reference library.
    pub fn colour(&self, frame: &Frame) -> Colour {
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        match (ids.len(), self.adobe_transform) {
            (1, _) => Colour::Grey,
            (3, _) if self.is_jfif => Colour::YCbCr,
            (3, Some(0)) => Colour::Rgb,
            (3, None) if ids == *b"RGB" => Colour::Rgb,
            (3, _) => Colour::YCbCr,
            (_, Some(2)) => Colour::Ycck,
            _ => Colour::Cmyk,
        }
    }
}

impl Frame {
    fn read(body: &[u8], is_progressive: bool) -> Result<Frame, JpegError> {
        const DAMAGED: JpegError = JpegError::Damaged("has a damaged header");
        let [precision, .., count] = *body.first_chunk::<6>().ok_or(DAMAGED)?;
        if precision != 8 {
            return Err(JpegError::Unsupported("of more than 8 bits a sample"));
        }
        let (height, width) = (usize::from(word(body, 1)?), usize::from(word(body, 3)?));
        let fields = body.get(6..6 + 3 * usize::from(count)).ok_or(DAMAGED)?;
        let components: Vec<Component> = fields
            .chunks_exact(3)
            .map(|field| Component {
                id: field[0],
                across: usize::from(field[1] >> 4),
                down: usize::from(field[1] & 15),
                quantiser: usize::from(field[2]),
            })
            .collect();
        if width == 0 || height == 0 {
            return Err(JpegError::Damaged("has no pixels"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::Unsupported("with neither 1, 3 nor 4 components"));
        }
        let across = components.iter().map(|component| component.across).max().unwrap_or(1);
        let down = components.iter().map(|component| component.down).max().unwrap_or(1);
        for component in &components {
            let factors = [component.across, component.down];
            if factors.iter().any(|factor| !(1..=4).contains(factor)) {
                return Err(DAMAGED);
            }
            if across % component.across != 0 || down % component.down != 0 {
                return Err(JpegError::Unsupported("with samples that lie between pixels"));
            }
        }
        Ok(Frame { width, height, is_progressive, components, colour: Colour::Grey, across, down })
    }

    /// Units, each of the blocks of all components that lie on each other, across and down.
    pub(super) fn units(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.across), self.height.div_ceil(8 * self.down))
    }

    /// How much the image may be shrunk when `asked` is the most that is wanted. Chroma that is coarser in one direction
    /// alone stays coarser than the pixels of a shrunken image, so such an image is shrunk half as much.
    pub fn shrink(&self, asked: Shrink) -> Shrink {
        if self.across == self.down {
            return asked;
        }
        match asked {
            Shrink::Full | Shrink::Half => Shrink::Full,
            Shrink::Quarter => Shrink::Half,
            Shrink::Eighth => Shrink::Quarter,
        }
    }

    /// Blocks of all components.
    pub(super) fn num_blocks(&self) -> usize {
        let (across, down) = self.units();
        across * down * self.components.iter().map(|component| component.across * component.down).sum::<usize>()
    }
}

impl ScanHeader {
    fn read(body: &[u8], frame: &Frame) -> Result<ScanHeader, JpegError> {
        const DAMAGED: JpegError = JpegError::Damaged("has a damaged scan");
        let count = usize::from(*body.first().ok_or(DAMAGED)?);
        let fields = body.get(1..1 + 2 * count).filter(|_| (1..=4).contains(&count)).ok_or(DAMAGED)?;
        let [first, last, bits] = *body.get(1 + 2 * count..).and_then(|rest| rest.first_chunk()).ok_or(DAMAGED)?;
        let mut components: Vec<(usize, usize, usize)> = Vec::with_capacity(count);
        for field in fields.chunks_exact(2) {
            let found = frame.components.iter().position(|component| component.id == field[0]).ok_or(DAMAGED)?;
            if components.iter().any(|&(index, ..)| index == found) {
                return Err(DAMAGED);
            }
            components.push((found, usize::from(field[1] >> 4 & 3), usize::from(field[1] & 3)));
        }
        let (high_bit, low_bit) = (u32::from(bits >> 4), u32::from(bits & 15));
        if frame.is_progressive && (first > last || last > 63 || low_bit > 13 || (first > 0 && count > 1)) {
            return Err(DAMAGED);
        }
        Ok(ScanHeader { components, first: first.into(), last: last.into(), high_bit, low_bit })
    }
}

/// The code of the next marker; what stands before it is passed over.
fn next_marker(file: &[u8], position: &mut usize) -> Result<u8, JpegError> {
    loop {
        let tail = file.get(*position..).ok_or(CUT_SHORT)?;
        let run = memchr::memchr(0xff, tail).ok_or(CUT_SHORT)?;
        let code = *tail.get(run + 1).ok_or(CUT_SHORT)?;
        *position += run + if code == 0xff { 1 } else { 2 };
        if code != 0xff && code != 0 {
            return Ok(code);
        }
    }
}

/// The segment at `*position`, without its length.
fn segment<'a>(file: &'a [u8], position: &mut usize) -> Result<&'a [u8], JpegError> {
    let tail = file.get(*position..).ok_or(CUT_SHORT)?;
    let length = usize::from(u16::from_be_bytes(*tail.first_chunk().ok_or(CUT_SHORT)?));
    let body = tail.get(2..length.max(2)).ok_or(CUT_SHORT)?;
    *position += length.max(2);
    Ok(body)
}

fn word(body: &[u8], at: usize) -> Result<u16, JpegError> {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u16::from_be_bytes(*bytes)).ok_or(JpegError::Damaged("has a damaged segment"))
}
