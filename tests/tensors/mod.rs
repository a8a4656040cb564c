//! What tests of operations on tensors share.

mod emulation;

use std::process::Command;
use std::sync::LazyLock;

use pdarts::torch::{emulate_gpu_kernels, load_cuda, use_own_stream};
use tch::{Cuda, Device, Kind, Tensor};

/// What these tests compute on: the CPU, unless `PDARTS_TEST_DEVICE` is `cuda`, or `cuda-emulation`: then the GPU kernels, emulated,
/// on tensors in the CPU's memory.
pub fn device() -> Device {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| match std::env::var("PDARTS_TEST_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::Cpu,
        Ok("cuda") => {
            load_cuda().unwrap_or_else(|error| panic!("PDARTS_TEST_DEVICE=cuda: {error}"));
            assert!(Cuda::is_available(), "PDARTS_TEST_DEVICE=cuda: libtorch finds no GPU");
            // As a run: equal every time, and float32 without TF32.
            use_own_stream(0).unwrap_or_else(|error| panic!("PDARTS_TEST_DEVICE=cuda: {error}"));
            Device::Cuda(0)
        }
        Ok("cuda-emulation") => {
            emulate_gpu_kernels(&emulation::library()).unwrap_or_else(|error| panic!("{error}"));
            Device::Cpu
        }
        Ok(other) => panic!("PDARTS_TEST_DEVICE={other}: cpu, cuda or cuda-emulation"),
    });
    *DEVICE
}

/// Runs these tests of this program again with the GPU kernels, emulated.
///
/// # Panics
/// When one fails.
#[allow(dead_code)] // not every test program has GPU kernels to emulate
pub fn pass_in_emulation(tests: &[&str]) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.arg("--exact").args(tests).env("PDARTS_TEST_DEVICE", "cuda-emulation");
    // New memory is full of large numbers, which show where a kernel leaves something unwritten.
    let output = program.env("MALLOC_PERTURB_", "1").output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    // A name that no test has would pass as well.
    assert!(told.contains(&format!("ok. {} passed", tests.len())), "{told}");
}

/// Whether the CPU's own kernels compute.
#[allow(dead_code)] // as above
pub fn on_cpu_kernels() -> bool {
    std::env::var("PDARTS_TEST_DEVICE").map_or(true, |device| device == "cpu")
}

/// Whether the CPU's kernels of its best instruction set compute: others, and the emulation, take their time.
#[allow(dead_code)] // as above
pub fn on_fast_kernels() -> bool {
    on_cpu_kernels() && std::env::var_os("ATEN_CPU_CAPABILITY").is_none()
}

/// What values that are stored as `kind` are computed with. (libtorch rounds sums of bfloat16 after each addition.)
#[allow(dead_code)] // as above
pub fn computed_in(kind: Kind) -> Kind {
    if kind == Kind::BFloat16 { Kind::Float } else { kind }
}

/// Largest difference, relative to the largest value (or 1 if that is smaller).
#[allow(dead_code)] // as above
pub fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    let theirs = theirs.to_kind(Kind::Double).to_device(Device::Cpu);
    let ours = ours.to_device(Device::Cpu);
    let scale = theirs.abs().max().double_value(&[]).max(1.0);
    (ours.to_kind(Kind::Double) - theirs).abs().max().double_value(&[]) / scale
}

/// The values as a tensor of their own, of which gradients are wanted.
#[allow(dead_code)] // as above
pub fn leaf(values: &Tensor) -> Tensor {
    values.detach().set_requires_grad(true)
}
