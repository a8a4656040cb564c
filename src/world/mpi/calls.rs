//! The calls of MPI that ranks need, on host memory.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

use mpi::environment::Universe;
use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::{Communicator as _, SimpleCommunicator};
use mpi::{Threading, environment};
use tch::{Device, Kind, Tensor};

use crate::world::{CommunicatorError, Label, ReduceOp};

/// MPI counts in 32 bits; longer messages go in parts of so many elements.
const LONGEST_MESSAGE: usize = 1 << 30;

/// The initialised library; finalised when dropped.
pub(super) struct Mpi {
    bf16_sum: ffi::MPI_Op,
    bf16_max: ffi::MPI_Op,
    world: SimpleCommunicator,
    /// For the questions whether all ranks have come, apart from the transfers.
    arrivals: SimpleCommunicator,
    local: SimpleCommunicator,
    threading: Threading,
    _universe: Universe,
}

impl Mpi {
    pub fn initialize() -> Result<Self, String> {
        // This thread alone calls MPI.
        let (universe, threading) =
            mpi::initialize_with_threading(Threading::Funneled).ok_or("it was initialised before in this process")?;
        let world = universe.world();
        // SAFETY: a valid communicator and a predefined handler, which its duplicates inherit.
        unsafe { ffi::MPI_Comm_set_errhandler(world.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        let arrivals = world.duplicate();
        let local = world.split_shared(world.rank());
        let (bf16_sum, bf16_max) = (create_op(sum_bf16)?, create_op(max_bf16)?);
        Ok(Self { bf16_sum, bf16_max, world, arrivals, local, threading, _universe: universe })
    }

    /// Rank and size among all ranks, then among those of this node.
    pub fn place(&self) -> [usize; 4] {
        [self.world.rank(), self.world.size(), self.local.rank(), self.local.size()]
            .map(|number| usize::try_from(number).unwrap_or(0))
    }

    /// `Open MPI v4.1.4 (threads: Multiple)`.
    pub fn library(&self) -> String {
        format!("{} (threads: {:?})", library_name(), self.threading)
    }

    /// Ends all ranks.
    pub fn abort(&self, code: c_int) -> ! {
        self.world.abort(code)
    }

    pub fn begin_arrival(&self, label: Label) -> Result<Arrival, CommunicatorError> {
        let mut request = MaybeUninit::uninit();
        // SAFETY: a valid communicator, and a place for the request that MPI fills.
        let code = unsafe { ffi::MPI_Ibarrier(self.arrivals.as_raw(), request.as_mut_ptr()) };
        check(code, "MPI_Ibarrier", label)?;
        // SAFETY: the call succeeded.
        Ok(Arrival { request: unsafe { request.assume_init() }, label })
    }

    /// Reduces `tensor` in place; see [`host_buffer`].
    pub fn all_reduce(&self, tensor: &Tensor, op: ReduceOp, label: Label) -> Result<(), CommunicatorError> {
        let buffer = host_buffer(tensor, label)?;
        let (datatype, mpi_op) = self.reduction(tensor.kind(), op, label)?;
        for (start, count) in buffer.parts() {
            // SAFETY: `start` has `count` elements of `datatype` in a contiguous tensor, which lives meanwhile; nobody
            // else uses its values until the operation is complete, as `Pending` demands.
            let code =
                unsafe { ffi::MPI_Allreduce(ffi::RSMPI_IN_PLACE, start, count, datatype, mpi_op, self.world.as_raw()) };
            check(code, "MPI_Allreduce", label)?;
        }
        if op == ReduceOp::Average {
            divide(tensor, i64::from(self.world.size()))?;
        }
        Ok(())
    }

    pub fn broadcast(&self, tensor: &Tensor, root: usize, label: Label) -> Result<(), CommunicatorError> {
        let buffer = host_buffer(tensor, label)?;
        let bytes = HostBuffer { len: buffer.len * buffer.element_bytes, element_bytes: 1, ..buffer };
        for (start, count) in bytes.parts() {
            // SAFETY: `start` has `count` bytes in a contiguous tensor, otherwise as in `all_reduce`.
            let code = unsafe { ffi::MPI_Bcast(start, count, ffi::RSMPI_UINT8_T, root as c_int, self.world.as_raw()) };
            check(code, "MPI_Bcast", label)?;
        }
        Ok(())
    }

    /// The bytes of every rank, which may differ in length, in the order of ranks.
    pub fn all_gather(&self, bytes: &[u8], label: Label) -> Result<Vec<Vec<u8>>, CommunicatorError> {
        let size = usize::try_from(self.world.size()).unwrap_or(1);
        let length = c_int::try_from(bytes.len()).map_err(|_| CommunicatorError::Tensor {
            problem: format!("{} bytes are too many to gather", bytes.len()),
            label,
        })?;
        let mut lengths = vec![0 as c_int; size];
        // SAFETY: one integer goes out, `size` come in, on a valid communicator.
        let code = unsafe {
            let (sent, received) = ((&raw const length).cast(), lengths.as_mut_ptr().cast());
            let int = ffi::RSMPI_INT32_T;
            ffi::MPI_Allgather(sent, 1, int, received, 1, int, self.world.as_raw())
        };
        check(code, "MPI_Allgather", label)?;
        let starts: Vec<c_int> = lengths
            .iter()
            .scan(0, |next: &mut c_int, &length| {
                let start = *next;
                *next = next.checked_add(length)?;
                Some(start)
            })
            .collect();
        if starts.len() < size {
            let problem = "the ranks' bytes are too many to gather".to_owned();
            return Err(CommunicatorError::Tensor { problem, label });
        }
        let total: usize = lengths.iter().map(|&length| length as usize).sum();
        let mut gathered = vec![0u8; total];
        // SAFETY: `gathered` has a place for what each rank has announced.
        let code = unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Allgatherv(
                bytes.as_ptr().cast(),
                length,
                byte,
                gathered.as_mut_ptr().cast(),
                lengths.as_ptr(),
                starts.as_ptr(),
                byte,
                self.world.as_raw(),
            )
        };
        check(code, "MPI_Allgatherv", label)?;
        let mut rest = gathered.as_slice();
        Ok(lengths
            .iter()
            .map(|&length| {
                let (own, others) = rest.split_at(length as usize);
                rest = others;
                own.to_vec()
            })
            .collect())
    }

    fn reduction(
        &self,
        kind: Kind,
        op: ReduceOp,
        label: Label,
    ) -> Result<(ffi::MPI_Datatype, ffi::MPI_Op), CommunicatorError> {
        // SAFETY: constants of the library, set once it is initialised.
        unsafe {
            let mpi_op = if op == ReduceOp::Max { ffi::RSMPI_MAX } else { ffi::RSMPI_SUM };
            match kind {
                Kind::Float => Ok((ffi::RSMPI_FLOAT, mpi_op)),
                Kind::Double => Ok((ffi::RSMPI_DOUBLE, mpi_op)),
                Kind::Int64 => Ok((ffi::RSMPI_INT64_T, mpi_op)),
                Kind::BFloat16 => {
                    let mpi_op = if op == ReduceOp::Max { self.bf16_max } else { self.bf16_sum };
                    Ok((ffi::RSMPI_UINT16_T, mpi_op))
                }
                _ => Err(CommunicatorError::Kind { library: "MPI", kind, label }),
            }
        }
    }
}

/// `Open MPI v4.1.4`; MPI need not be started.
pub fn library_name() -> String {
    let version = environment::library_version().unwrap_or_default();
    version.split([',', '\n']).next().unwrap_or_default().trim_end_matches('\0').to_owned()
}

impl Drop for Mpi {
    fn drop(&mut self) {
        for op in [&mut self.bf16_sum, &mut self.bf16_max] {
            // SAFETY: made by `create_op` and freed once, before MPI is finalised.
            unsafe { ffi::MPI_Op_free(op) };
        }
    }
}

/// The question whether all ranks have come.
pub(super) struct Arrival {
    request: ffi::MPI_Request,
    label: Label,
}

impl Arrival {
    pub fn is_complete(&mut self) -> Result<bool, CommunicatorError> {
        let mut flag = 0;
        // SAFETY: a request of this library; after completion it is the null request, which is complete.
        let code = unsafe { ffi::MPI_Test(&mut self.request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
        check(code, "MPI_Test", self.label)?;
        Ok(flag != 0)
    }
}

struct HostBuffer {
    start: *mut c_void,
    len: usize,
    element_bytes: usize,
}

impl HostBuffer {
    /// Start and number of elements of each message.
    fn parts(&self) -> impl Iterator<Item = (*mut c_void, c_int)> {
        (0..self.len).step_by(LONGEST_MESSAGE).map(|first| {
            let count = (self.len - first).min(LONGEST_MESSAGE) as c_int;
            // SAFETY: `first` is below `len`.
            (unsafe { self.start.byte_add(first * self.element_bytes) }, count)
        })
    }
}

/// The memory of a contiguous tensor on the CPU.
fn host_buffer(tensor: &Tensor, label: Label) -> Result<HostBuffer, CommunicatorError> {
    let problem = if tensor.device() != Device::Cpu {
        format!("MPI works on host memory, the tensor is on {:?}", tensor.device())
    } else if !tensor.is_contiguous() {
        "the tensor is not contiguous".to_owned()
    } else {
        let element_bytes = tensor.kind().elt_size_in_bytes();
        return Ok(HostBuffer { start: tensor.data_ptr(), len: tensor.numel(), element_bytes });
    };
    Err(CommunicatorError::Tensor { problem, label })
}

fn divide(tensor: &Tensor, size: i64) -> Result<(), CommunicatorError> {
    let mut tensor = tensor.shallow_clone();
    tch::no_grad(|| match tensor.kind() {
        Kind::Int64 => tensor.f_divide_scalar_mode_(size, "trunc").map(drop),
        _ => tensor.f_div_scalar_(size).map(drop),
    })?;
    Ok(())
}

fn check(code: c_int, call: &'static str, label: Label) -> Result<(), CommunicatorError> {
    if code == 0 {
        return Ok(());
    }
    let mut text = vec![0u8; 1024];
    let mut length = 0;
    // SAFETY: more room than MPI_MAX_ERROR_STRING, which is at most 512 in the libraries that there are.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &mut length) };
    text.truncate(usize::try_from(length).unwrap_or(0));
    Err(CommunicatorError::Library { call, label, message: String::from_utf8_lossy(&text).into_owned() })
}

type ReductionFunction = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_int, *mut ffi::MPI_Datatype);

fn create_op(function: ReductionFunction) -> Result<ffi::MPI_Op, String> {
    let mut op = MaybeUninit::uninit();
    // SAFETY: a function of the right type that commutes, and a place for the operation.
    let code = unsafe { ffi::MPI_Op_create(Some(function), 1, op.as_mut_ptr()) };
    check(code, "MPI_Op_create", Label::new("start")).map_err(|error| error.to_string())?;
    // SAFETY: the call succeeded.
    Ok(unsafe { op.assume_init() })
}

unsafe extern "C" fn sum_bf16(input: *mut c_void, output: *mut c_void, len: *mut c_int, _: *mut ffi::MPI_Datatype) {
    // SAFETY: MPI calls this with two arrays of `*len` elements.
    unsafe { combine_bf16(input, output, len, |a, b| a + b) }
}

unsafe extern "C" fn max_bf16(input: *mut c_void, output: *mut c_void, len: *mut c_int, _: *mut ffi::MPI_Datatype) {
    // SAFETY: MPI calls this with two arrays of `*len` elements.
    unsafe { combine_bf16(input, output, len, f32::max) }
}

/// # Safety
/// Two arrays of `*len` bfloat16 numbers that do not overlap.
unsafe fn combine_bf16(input: *mut c_void, output: *mut c_void, len: *mut c_int, combine: impl Fn(f32, f32) -> f32) {
    // SAFETY: the caller's promise.
    let (input, output) = unsafe {
        let len = usize::try_from(*len).unwrap_or(0);
        (
            std::slice::from_raw_parts(input.cast::<u16>(), len),
            std::slice::from_raw_parts_mut(output.cast::<u16>(), len),
        )
    };
    for (ours, theirs) in output.iter_mut().zip(input) {
        *ours = to_bf16(combine(from_bf16(*ours), from_bf16(*theirs)));
    }
}

fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds to the nearest, ties to even.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_rounds_as_libtorch_does() {
        let values: Vec<f32> =
            (0..1000).map(|index| (index as f32 * 0.37).sin() * 1e3).chain([f32::MAX, 0.0]).collect();
        let reference = Tensor::from_slice(&values).to_kind(Kind::BFloat16).to_kind(Kind::Float);
        for (index, &value) in values.iter().enumerate() {
            assert_eq!(from_bf16(to_bf16(value)), reference.double_value(&[index as i64]) as f32);
        }
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
    }
}
