//! A machine for Python's pickle language that builds weights and nothing else.
//!
//! A pickle is a program for a stack machine: its opcodes push values, gather them into containers, and call named
//! Python objects on them. [`machine`] runs the opcodes of protocol 2 and those that protocols 4 and 5 add for the same
//! values; [`build`] stands in for the few objects that a state dict needs.
//!
//! Values live in an arena and name each other by number, so a value that contains itself, or a hundred nested lists,
//! costs no more than its opcodes. Memory is bounded by the length of the pickle and by [`machine::MOST_VALUES`].

mod build;
mod cursor;
mod machine;
mod value;

pub(super) use cursor::Cursor;
pub(super) use machine::load;
pub(super) use value::{Id, StorageRef, TensorRef, Value, Values};
