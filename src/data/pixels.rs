//! Images of one size in host memory, one after the other.

use std::any::Any;
use std::sync::OnceLock;

/// The bytes of all images of a source, and a place for a copy of them in another memory, which lives as long as they do.
#[derive(Debug, Default)]
pub struct Pixels {
    bytes: Vec<u8>,
    copy: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Pixels {
    /// `[N, side, side, 3]`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What whoever computes with them elsewhere keeps; empty at first.
    pub fn copy(&self) -> &OnceLock<Box<dyn Any + Send + Sync>> {
        &self.copy
    }

    /// The bytes to append to. No copy is up to date any more.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.copy = OnceLock::new();
        &mut self.bytes
    }
}
