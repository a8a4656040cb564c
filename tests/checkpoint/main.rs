//! Computing cells again in backward instead of keeping their activations: the same numbers, bit for bit, in less memory.

mod function;
mod memory;
mod networks;
#[path = "../tensors/random.rs"]
mod random;
#[path = "../tensors/mod.rs"]
mod tensors;
