//! The samples of one component, as far as the region needs them.

use std::ops::Range;

/// Samples of the blocks `rows` x `columns` of a component.
///
/// The memory is that of the largest image so far.
#[derive(Debug, Default)]
pub(super) struct Plane {
    pub samples: Vec<u8>,
    /// Samples from one row to the next.
    pub stride: usize,
    /// Samples of a block's side: 8, or less in a smaller image.
    pub side: usize,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// Samples of the whole component that belong to the image.
    pub width: usize,
    pub height: usize,
    /// Pixels of the image for a sample, across and down.
    pub ratio: (usize, usize),
}

impl Plane {
    /// Where a block's samples begin; `None` outside of the region.
    #[inline(always)]
    pub fn place(&self, row: usize, column: usize) -> Option<usize> {
        let (row, column) = (row.wrapping_sub(self.rows.start), column.wrapping_sub(self.columns.start));
        let is_inside = row < self.rows.len() && column < self.columns.len();
        is_inside.then(|| (row * self.stride + column) * self.side)
    }

    /// Makes room for its blocks.
    pub fn allocate(&mut self) {
        self.stride = self.columns.len() * self.side;
        let length = self.stride * self.rows.len() * self.side;
        // What an image before has left is written over.
        if self.samples.len() < length {
            self.samples.resize(length, 0);
        }
    }

    /// Samples `columns` of a row; the last row and column of the image stand for what is beyond them.
    pub fn row(&self, row: usize) -> &[u8] {
        let row = row.min(self.height.saturating_sub(1)).saturating_sub(self.rows.start * self.side);
        self.samples.get(row * self.stride..(row + 1) * self.stride).unwrap_or_default()
    }

    /// The first sample of [`Self::row`] within the component.
    pub fn first_column(&self) -> usize {
        self.columns.start * self.side
    }
}
