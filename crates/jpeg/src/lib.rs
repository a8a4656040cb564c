//! A JPEG decoder that does no more than a crop needs.
//!
//! Baseline, extended and progressive Huffman-coded files of 8 bits, with 1, 3 or 4 components of any usual sampling,
//! to RGB. Its pixels are those of libjpeg-turbo with its default settings, bit for bit.
//!
//! Why an own one: three quarters of the time of an input pipeline are spent here, and what saves it is what a general
//! decoder does not offer. Only the blocks that a crop touches are transformed and converted, the others are passed
//! over a few coefficients at a look; rows below the crop are not read at all; and an image that is to become much
//! smaller is decoded at a half, a quarter or an eighth of its size ([`Shrink`]). It also never makes pixels up: a
//! file that ends before its end marker is refused, whichever part of it a crop needs, and so is data that ends before
//! the crop does. It needs no library, no assembler and no `unsafe`.
//!
//! Source: ITU-T T.81 (the format), T.871 (JFIF); libjpeg-turbo for what these leave open.

mod bits;
mod frame;
mod huffman;
mod idct;
#[cfg(target_arch = "x86_64")]
mod idct_avx2;
mod pixels;
mod plane;
mod progressive;
mod scan;

pub use frame::Frame;

use self::{
    bits::EntropyCoded,
    frame::{Next, ScanHeader, Tables},
    pixels::Rows,
    plane::Plane,
    progressive::{Band, Coefficients, ProgressiveComponent},
    scan::{ScanComponent, Units},
};

/// A rectangle of pixels.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first column.
    pub left: usize,
    /// The first row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// How much smaller than it is an image is decoded.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shrink {
    /// Not at all.
    Full = 1,
    /// To half its sides.
    Half = 2,
    /// To a quarter of its sides.
    Quarter = 4,
    /// To an eighth of its sides.
    Eighth = 8,
}

/// Why a file gives no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The file ends before its end marker.
    #[error("it was cut short: it has no end marker")]
    CutShort,
    /// What the file says cannot be.
    #[error("it is damaged: it {0}")]
    Damaged(&'static str),
    /// A Huffman table that no code can have.
    #[error("it is damaged: it has an impossible Huffman table")]
    HuffmanTable,
    /// A kind of JPEG that is hardly used.
    #[error("JPEG files {0} are not supported: save it as a baseline JPEG")]
    Unsupported(&'static str),
    /// A header that claims more than the file can hold.
    #[error("it is damaged: its {bytes} bytes cannot hold the {width} x {height} pixels that it claims")]
    TooFewBytes {
        /// Of the file.
        bytes: usize,
        /// Claimed.
        width: usize,
        /// Claimed.
        height: usize,
    },
}

/// Programs write about ten. A scan of few bytes can pass over the whole image, so that many of them would take hours.
const MOST_SCANS: usize = 100;

/// Decodes one file after the other with the same memory.
#[derive(Debug, Default)]
pub struct JpegDecoder {
    tables: Tables,
    data: EntropyCoded,
    planes: Vec<Plane>,
    coefficients: Vec<Coefficients>,
    /// Of each component, as its first scan found it.
    quantisers: Vec<Option<[u16; 64]>>,
    rows: Rows,
}

impl JpegDecoder {
    /// What `file` says of its image.
    ///
    /// # Errors
    /// When it is no JPEG that can be decoded, as far as its header tells.
    pub fn open(&mut self, file: &[u8]) -> Result<Frame, JpegError> {
        self.tables.reset();
        let mut frame = match self.tables.read(file, &mut 0, None)? {
            Next::Frame(frame) => frame,
            _ => return Err(JpegError::Damaged("has no header")),
        };
        // A block takes a bit at least: what claims more would only ask for memory.
        if frame.num_blocks() > 8 * file.len() {
            let Frame { width, height, .. } = frame;
            return Err(JpegError::TooFewBytes { bytes: file.len(), width, height });
        }
        frame.colour = self.tables.colour(&frame);
        Ok(frame)
    }

    /// Decodes `area` of `file`, which [`Self::open`] has opened as `frame`, to the beginning of `out`, RGB.
    ///
    /// `out` becomes longer where it is too short; it is never cleared, so that it serves the next image too.
    ///
    /// Returns the part of the shrunken image that was written: it covers `area`, with up to one pixel more on each
    /// side where `area` does not begin and end at whole pixels.
    ///
    /// # Errors
    /// When the file was cut short or is damaged.
    pub fn decode(
        &mut self,
        file: &[u8],
        frame: &Frame,
        area: &Area,
        shrink: Shrink,
        out: &mut Vec<u8>,
    ) -> Result<Area, JpegError> {
        let divisor = shrink as usize;
        let (right, bottom) = (area.left + area.width, area.top + area.height);
        if area.width == 0 || area.height == 0 || right > frame.width || bottom > frame.height {
            return Err(JpegError::Damaged("is smaller than what is asked of it"));
        }
        let (left, top) = (area.left / divisor, area.top / divisor);
        let (width, height) = (right.div_ceil(divisor) - left, bottom.div_ceil(divisor) - top);
        self.plan(frame, area, divisor);
        self.read_scans(file, frame)?;
        let shrunken = Area { left, top, width, height };
        let length = width * height * 3;
        if out.len() < length {
            out.resize(length, 0);
        }
        pixels::convert(&self.planes, frame.colour, &shrunken, &mut self.rows, &mut out[..length]);
        Ok(shrunken)
    }

    /// Lays out the planes of the blocks that `area` needs.
    fn plan(&mut self, frame: &Frame, area: &Area, divisor: usize) {
        let (units_across, units_down) = frame.units();
        // Spreading chroma looks one sample further.
        let margin = |factor: usize| if factor > 1 { factor * divisor } else { 0 };
        let range = |start: usize, length: usize, margin: usize, unit: usize, units: usize| {
            start.saturating_sub(margin) / unit..(start + length + margin).div_ceil(unit).min(units)
        };
        let columns = range(area.left, area.width, margin(frame.across), 8 * frame.across, units_across);
        let rows = range(area.top, area.height, margin(frame.down), 8 * frame.down, units_down);
        self.planes.resize_with(frame.components.len(), Plane::default);
        for (plane, component) in self.planes.iter_mut().zip(&frame.components) {
            // Of a shrunken image, coarser components are shrunk less.
            let mut finer = 1;
            while divisor / finer > 1
                && frame.across.is_multiple_of(component.across * finer * 2)
                && frame.down.is_multiple_of(component.down * finer * 2)
            {
                finer *= 2;
            }
            plane.side = 8 / divisor * finer;
            plane.ratio = (frame.across / (component.across * finer), frame.down / (component.down * finer));
            plane.columns = columns.start * component.across..columns.end * component.across;
            plane.rows = rows.start * component.down..rows.end * component.down;
            plane.width = (frame.width * component.across * plane.side).div_ceil(frame.across * 8);
            plane.height = (frame.height * component.down * plane.side).div_ceil(frame.down * 8);
            plane.allocate();
        }
    }

    fn read_scans(&mut self, file: &[u8], frame: &Frame) -> Result<(), JpegError> {
        let mut num_scans = 0;
        self.tables.reset();
        self.quantisers.clear();
        self.quantisers.resize(frame.components.len(), None);
        if frame.is_progressive {
            self.clear_coefficients(frame);
        }
        let (mut position, mut num_frames) = (0, 0);
        loop {
            match self.tables.read(file, &mut position, Some(frame))? {
                Next::Frame(_) if num_frames == 0 => num_frames = 1,
                Next::Frame(_) => return Err(JpegError::Damaged("has two headers")),
                Next::Scan(header, start) => {
                    num_scans += 1;
                    if num_scans > MOST_SCANS {
                        return Err(JpegError::Damaged("has more scans than any program writes"));
                    }
                    position = self.data.read(file, start)?;
                    self.latch_quantisers(&header, frame)?;
                    if frame.is_progressive {
                        self.progressive_scan(&header, frame)
                    } else {
                        self.scan(&header, frame)
                    }?;
                }
                Next::End => break,
            }
        }
        if self.quantisers.iter().any(Option::is_none) {
            return Err(JpegError::Damaged("lacks a component of its image"));
        }
        if frame.is_progressive {
            for ((coefficients, quantiser), plane) in
                self.coefficients.iter_mut().zip(self.quantisers.iter().flatten()).zip(&mut self.planes)
            {
                progressive::transform(coefficients, quantiser, plane)?;
            }
        }
        Ok(())
    }

    fn clear_coefficients(&mut self, frame: &Frame) {
        let (across, down) = frame.units();
        self.coefficients.resize_with(frame.components.len(), Coefficients::default);
        for (coefficients, component) in self.coefficients.iter_mut().zip(&frame.components) {
            coefficients.across = across * component.across;
            coefficients.values.clear();
            coefficients.values.resize(coefficients.across * down * component.down * 64, 0);
        }
    }

    fn latch_quantisers(&mut self, header: &ScanHeader, frame: &Frame) -> Result<(), JpegError> {
        for &(index, ..) in &header.components {
            if self.quantisers[index].is_none() {
                let table = self.tables.quantisers.get(frame.components[index].quantiser).copied().flatten();
                self.quantisers[index] = Some(table.ok_or(JpegError::Damaged("lacks a quantisation table"))?);
            }
        }
        Ok(())
    }

    /// Where the units of a scan stand, and whether each is but a block.
    fn units(&self, header: &ScanHeader, frame: &Frame) -> (Units, bool) {
        let restart_interval = self.tables.restart_interval;
        let (across, _) = frame.units();
        let &[(index, ..)] = header.components.as_slice() else {
            let component = &frame.components[0];
            let rows = &self.planes[0].rows;
            let needed = rows.start / component.down..rows.end / component.down;
            return (Units { across, needed, restart_interval }, false);
        };
        let (component, rows) = (&frame.components[index], &self.planes[index].rows);
        let blocks = |size: usize, factor: usize, most: usize| (size * factor).div_ceil(most * 8);
        let end = rows.end.min(blocks(frame.height, component.down, frame.down));
        let across = blocks(frame.width, component.across, frame.across);
        (Units { across, needed: rows.start.min(end)..end, restart_interval }, true)
    }

    fn scan(&mut self, header: &ScanHeader, frame: &Frame) -> Result<(), JpegError> {
        const NO_TABLE: JpegError = JpegError::Damaged("lacks a Huffman table");
        let (units, is_alone) = self.units(header, frame);
        let mut components = Vec::with_capacity(header.components.len());
        for &(plane, dc, ac) in &header.components {
            let component = &frame.components[plane];
            let (across, down) = if is_alone { (1, 1) } else { (component.across, component.down) };
            let dc = self.tables.dc[dc].table().ok_or(NO_TABLE)?;
            let ac = self.tables.ac[ac].table().ok_or(NO_TABLE)?;
            let quantiser = scan::in_place(self.quantisers[plane].as_ref().ok_or(NO_TABLE)?);
            components.push(ScanComponent { plane, across, down, dc, ac, quantiser });
        }
        scan::decode(&units, &components, &self.data, &mut self.planes)
    }

    fn progressive_scan(&mut self, header: &ScanHeader, frame: &Frame) -> Result<(), JpegError> {
        let (units, is_alone) = self.units(header, frame);
        let band = Band {
            first: header.first,
            last: header.last,
            is_refinement: header.high_bit > 0,
            low_bit: header.low_bit,
        };
        let tables = &self.tables;
        let components = header.components.iter().map(|&(index, dc, ac)| {
            let component = &frame.components[index];
            let (across, down) = if is_alone { (1, 1) } else { (component.across, component.down) };
            let table = if band.first == 0 { tables.dc[dc].table() } else { tables.ac[ac].table() };
            ProgressiveComponent { index, across, down, table }
        });
        let components: Vec<_> = components.collect();
        match components.as_slice() {
            [component] if band.first > 0 => {
                progressive::decode_ac(&units, component, band, &self.data, &mut self.coefficients)
            }
            components => progressive::decode_dc(&units, components, band, &self.data, &mut self.coefficients),
        }
    }
}

#[cfg(test)]
mod tests;
