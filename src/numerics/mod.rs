//! Whether a device computes what it should: every operation of searches and trainings, forward and backward, against the
//! CPU in double precision.
//!
//! Libraries have returned wrong gradients without a word (backward of libtorch 2.11's `avg_pool2d` on channels-last CUDA
//! tensors, pytorch#188344): a search on them ends with a wrong cell. The reference is composed of libtorch's operations
//! on the CPU, so that no kernel is compared with itself.
//!
//! - `values`: the inputs, the same for all devices
//! - `operations`, `networks`, `optimizers`: what is computed
//! - `comparison`: how far two computations are from each other
//! - `fault`: a wrong result that tests inject

mod comparison;
mod fault;
mod networks;
mod operations;
mod optimizers;
mod values;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

pub use fault::is_planned as fault_is_planned;

use self::comparison::{Computed, relative_error};
use self::values::Values;
use crate::torch::{Bf16Autocast, Kernels, choose_kernels, chosen_kernels, libtorch_version};
use crate::world::DeviceName;

/// Whatever keeps a case from being computed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

type Compute = dyn Fn(&mut Values) -> Result<Computed, Failure>;

/// What is computed of one name, with inputs and gradients from the stream of values.
struct Case {
    name: String,
    /// Rounding adds up over the layers of a network.
    is_network: bool,
    /// Whether `precision = "bf16"` of a search or training computes it so; of whole networks it says too little.
    in_bf16: bool,
    compute: Box<Compute>,
}

/// How much is computed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything once, at small sizes: under two seconds.
    Quick,
    /// Also at the sizes of real networks, at odd sizes, and in bfloat16.
    Full,
}

/// The type that the device computes in.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Where wrong and rounded are told apart best.
    Float64,
    /// What searches and most trainings compute in.
    Float32,
    /// Inputs of convolutions, poolings and sums in bfloat16, as `precision = "bf16"` of a search or training has it.
    Bf16,
}

/// How one operation came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The operation.
    pub operation: String,
    /// What the device computed in.
    pub precision: Precision,
    /// Norm of the difference over the norm of the reference: the largest of all outputs and gradients; none when one
    /// of them is no number. Next to larger ones, norms of nearly nothing do not count.
    pub error: Option<f64>,
    /// What rounding explains.
    pub limit: f64,
}

impl Row {
    /// Whether the error is within the limit.
    pub fn is_right(&self) -> bool {
        self.error.is_some_and(|error| error <= self.limit)
    }
}

/// What stands in the way of a comparison.
#[derive(Debug, thiserror::Error)]
pub enum NumericsError {
    /// libtorch refused to compute.
    #[error("{operation} in {precision} cannot be computed on {device}: {error}")]
    Refused {
        /// The case.
        operation: String,
        /// What it should be computed in.
        precision: &'static str,
        /// Where.
        device: String,
        /// libtorch's reason.
        error: Failure,
    },
    /// A device that computes something else than it should.
    #[error(
        "{device} computes {operation} wrongly in {precision} (relative error {error}, at most {limit:.0e} is \
         rounding) with libtorch {version}: use another libtorch, or another device (run.device); `pdarts doctor \
         --numerics` tells all, run.check_numerics = false starts nevertheless"
    )]
    Wrong {
        /// Which.
        device: String,
        /// The first that is wrong.
        operation: String,
        /// What it was computed in.
        precision: &'static str,
        /// How far it is off.
        error: String,
        /// What rounding explains.
        limit: f64,
        /// Of libtorch.
        version: &'static str,
    },
}

impl Precision {
    /// As in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float64 => "float64",
            Self::Float32 => "float32",
            Self::Bf16 => "bf16",
        }
    }

    /// The type of inputs and parameters.
    fn kind(self) -> Kind {
        match self {
            Self::Float64 => Kind::Double,
            Self::Float32 | Self::Bf16 => Kind::Float,
        }
    }

    /// What rounding explains. Single precision is without TF32 here; in a network a few values near zero may come to lie on
    /// the other side of a ReLU.
    fn limit(self, is_network: bool) -> f64 {
        match (self, is_network) {
            (Self::Float64, _) => 1e-9,
            (Self::Float32, false) => 1e-3,
            (Self::Float32, true) | (Self::Bf16, _) => 1e-1,
        }
    }
}

/// Computes everything on `device` and on the CPU; one row for each operation and precision, in the order of a network.
///
/// Draws nothing from libtorch's generators that a seeded run would miss: whoever builds a network seeds first.
///
/// # Errors
/// When libtorch refuses one of them.
pub fn check(device: Device, extent: Extent) -> Result<Vec<Row>, NumericsError> {
    let mut cases = operations::cases(extent);
    cases.extend(networks::cases(extent));
    cases.extend(optimizers::cases());
    let mut rows = Vec::new();
    for case in &cases {
        let expected = case.on(Device::Cpu, Precision::Float64, Kernels::Reference)?;
        let bf16 = (case.in_bf16 && extent == Extent::Full).then_some(Precision::Bf16);
        for precision in [Precision::Float64, Precision::Float32].into_iter().chain(bf16) {
            let mut computed = case.on(device, precision, chosen_kernels())?;
            if fault::strikes(&case.name) {
                computed.spoil();
            }
            rows.push(Row {
                operation: case.name.clone(),
                precision,
                error: relative_error(&computed, &expected),
                limit: precision.limit(case.is_network),
            });
        }
    }
    Ok(rows)
}

/// The first of `rows` that is wrong, as an error.
///
/// # Errors
/// [`NumericsError::Wrong`], when there is one.
pub fn verdict(rows: &[Row], device: Device) -> Result<(), NumericsError> {
    match rows.iter().find(|row| !row.is_right()) {
        None => Ok(()),
        Some(row) => Err(NumericsError::Wrong {
            device: DeviceName(device).to_string(),
            operation: row.operation.clone(),
            precision: row.precision.name(),
            error: row.error.map_or("not a number".into(), |error| format!("{error:.1e}")),
            limit: row.limit,
            version: libtorch_version(),
        }),
    }
}

impl Case {
    fn operation(
        name: impl Into<String>,
        compute: impl Fn(&mut Values) -> Result<Computed, Failure> + 'static,
    ) -> Self {
        Self { name: name.into(), is_network: false, in_bf16: false, compute: Box::new(compute) }
    }

    fn network(name: impl Into<String>, compute: impl Fn(&mut Values) -> Result<Computed, Failure> + 'static) -> Self {
        Self { is_network: true, ..Self::operation(name, compute) }
    }

    fn also_in_bf16(self) -> Self {
        Self { in_bf16: true, ..self }
    }

    fn on(&self, device: Device, precision: Precision, kernels: Kernels) -> Result<Computed, NumericsError> {
        let before = chosen_kernels();
        choose_kernels(kernels);
        let compute = || {
            let mut values = Values::new(&self.name, device, precision.kind());
            let _autocast = match precision {
                Precision::Bf16 => Some(Bf16Autocast::start(device)?),
                Precision::Float64 | Precision::Float32 => None,
            };
            (self.compute)(&mut values)
        };
        let computed = compute();
        choose_kernels(before);
        computed.map_err(|error| NumericsError::Refused {
            operation: self.name.clone(),
            precision: precision.name(),
            device: DeviceName(device).to_string(),
            error,
        })
    }
}
