//! Our networks against cases computed in double precision with the authors' networks under PyTorch.
//!
//! Reads `tests/fixtures/*.safetensors` and, when `PDARTS_PARITY_DIR` names a folder, every such file there. A case
//! holds initial values under the authors' state-dict names, inputs, and what must come out: see `SupernetCase` and
//! `NetworkCase`.

mod darts;
mod fixture;
mod gdas;
mod kernels;
mod networks;
mod pc_darts;
mod samples;
mod snas;
mod subject;
mod supernet;
#[path = "../tensors/mod.rs"]
#[allow(dead_code)]
mod tensors;
