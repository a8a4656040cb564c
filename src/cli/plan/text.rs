//! The plan as a person reads it.

use super::{Assumptions, Plan, trial::Trial};
use crate::cli::genotype::millions;
use crate::cli::table::Table;
use crate::plan::{
    CROPPED_IMAGES_PER_CORE, Calibration, Course, DECODED_IMAGES_PER_CORE, Efficiency, Hardware, Kernels, LoaderNeed,
    Memory, Pace, PhaseEstimate, StepEstimate,
};

const GIB: f64 = (1u64 << 30) as f64;
const MIB: f64 = (1u64 << 20) as f64;

pub(super) fn report(plan: &Plan) -> String {
    let Plan { estimate, assumed, .. } = plan;
    let mut text = heading(plan);
    text += &format!("\n{}\n{}\n{}", counts(plan), steps(plan), memory(plan));
    let (totals, nodes) = (estimate.totals, plan.nodes);
    let fits = match totals.fits {
        Some(true) => ", which fits",
        Some(false) => ", MORE THAN THE GPU HAS: raise accumulate_steps, or set model.checkpoint_cells",
        None => "",
    };
    text += &format!("\nmemory  {} a GPU{fits}\n", bytes(totals.memory_bytes));
    text += &format!(
        "time    {}, {:.2} GPU-hours on {} in {nodes} {}\n",
        duration(totals.hours),
        totals.gpu_hours,
        plan.gpus,
        if nodes == 1 { "machine" } else { "machines" }
    );
    text += &loader(&estimate.loader);
    text += "\nassumed\n";
    text += &assumptions(assumed);
    text
}

fn heading(plan: &Plan) -> String {
    let cell = plan.cell.as_ref().map_or(String::new(), |cell| format!(" of {cell}"));
    format!(
        "{}{cell} by {}: {} {}, {} images in {} classes, steps of {} images ({} at a time on each)\n",
        plan.kind,
        plan.config.display(),
        plan.gpus,
        if plan.gpu == "cpu" { "CPU ranks".to_owned() } else { format!("x {}", plan.gpu.to_uppercase()) },
        plan.train_images,
        plan.classes,
        plan.global_batch,
        plan.estimate.images_of_part
    )
}

fn counts(plan: &Plan) -> Table {
    let heading: [&str; 7] =
        ["counted", "parameters, M", "multiply-adds, M", "kept an image, MiB", "launches", "GFLOP a step", "GB a step"];
    let mut table = Table::new(&[&heading]);
    for phase in &plan.estimate.phases {
        table.row([
            phase.name.clone(),
            millions(phase.parameters),
            millions(phase.multiply_adds),
            format!("{:.1}", phase.activation_bytes as f64 / MIB),
            phase.launches.to_string(),
            format!("{:.1}", phase.step_flop / 1e9),
            format!("{:.1}", phase.step_bytes / 1e9),
        ]);
    }
    table
}

fn steps(plan: &Plan) -> Table {
    let heading = [
        "step, ms",
        "alphas",
        "weights",
        "of it device",
        "launches",
        "sums",
        "waited for",
        "images/s",
        "steps",
        "epochs",
        "time",
    ];
    let mut table = Table::new(&[&heading]);
    let ms = |seconds: f64| format!("{:.1}", 1e3 * seconds);
    for phase in &plan.estimate.phases {
        let PhaseEstimate { alpha_step, weight_step: StepEstimate { seconds, device_seconds, .. }, .. } = phase;
        table.row([
            phase.name.clone(),
            alpha_step.map_or("-".to_owned(), |step| ms(step.seconds)),
            ms(*seconds),
            ms(*device_seconds),
            ms(phase.weight_step.launch_seconds),
            ms(phase.weight_step.communication_seconds),
            ms(phase.weight_step.exposed_seconds),
            format!("{:.0}", phase.images_per_second),
            phase.steps_per_epoch.to_string(),
            phase.epochs.to_string(),
            duration(phase.hours),
        ]);
    }
    table
}

fn memory(plan: &Plan) -> Table {
    let heading = [
        "memory of a GPU, MiB",
        "all",
        "activations",
        "working",
        "weights",
        "gradients",
        "optimizer",
        "images",
        "program",
    ];
    let mut table = Table::new(&[&heading]);
    for PhaseEstimate { name, memory, .. } in &plan.estimate.phases {
        let Memory { program, weights, gradients, optimizer, images, activations, workspace } = *memory;
        let parts = [memory.total(), activations, workspace, weights, gradients, optimizer, images, program];
        table.row(std::iter::once(name.clone()).chain(parts.map(|bytes| format!("{:.0}", bytes / MIB))));
    }
    table
}

fn loader(need: &LoaderNeed) -> String {
    let LoaderNeed { images_per_second, images_per_second_and_core, cores, threads } = *need;
    let verdict = match cores <= threads as f64 {
        true => "enough".to_owned(),
        false => format!("too few: set data.loader_threads = {}", cores.ceil()),
    };
    format!(
        "loading {cores:.1} cores a GPU: {images_per_second:.0} images/s at {images_per_second_and_core:.0} a core; \
         data.loader_threads = {threads} is {verdict}\n"
    )
}

fn assumptions(assumed: &Assumptions) -> String {
    let shares = |share: fn(&Efficiency) -> f64| {
        let shares: Vec<String> =
            assumed.efficiency.iter().map(|efficiency| format!("{:.2}", share(efficiency))).collect();
        shares.join(", ")
    };
    let mut text = format!(
        "  peaks: {:.2} TFLOP/s ({:.2} in bfloat16), {:.0} GB/s\n  \
         reached by dense convolutions, separable ones, sums of the supernet, the rest: {} of the arithmetic, {} of the memory\n  \
         {:.1} us to start a kernel\n  \
         rings over links of {:.1} GB/s in a machine, {:.1} GB/s between machines\n",
        assumed.peak_tflop_s,
        assumed.peak_bf16_tflop_s,
        assumed.memory_gb_s,
        shares(|efficiency| efficiency.arithmetic),
        shares(|efficiency| efficiency.memory),
        assumed.launch_microseconds,
        assumed.node_link_gb_s,
        assumed.network_gb_s,
    );
    for note in &assumed.notes {
        text += &format!("  {note}\n");
    }
    text
}

/// What was measured and what was not, and what is left out.
pub(super) fn notes(course: &Course, hardware: &Hardware, trial: Option<&Trial>) -> Vec<String> {
    let mut notes: Vec<&str> = Vec::new();
    let replayed = "the program's own kernels, in steps that are recorded and replayed (run.cuda_graphs)";
    let own_kernels = match (course.obstacle_to_graphs, course.obstacle_to_weight_graphs) {
        (Some(obstacle), _) => format!("the program's own kernels, launched one by one: {obstacle}"),
        (None, Some(obstacle)) => format!("{replayed}, but for passes that train weights: {obstacle}"),
        (None, None) => replayed.to_owned(),
    };
    let (of_trial, kernels) = (trial.map(trial_note), hardware.kernels);
    match (kernels, hardware.calibration) {
        (Kernels::Cpu, _) if trial.is_some() => notes.push("links between ranks are not calibrated"),
        (Kernels::Cpu, _) => notes.push(
            "calibrated by steps on CPUs with AVX-512 (docs/performance.md); links between ranks are not calibrated",
        ),
        (_, Calibration::Measured) => notes.push(
            "calibrated on one H200 (docs/performance.md): shares of the peaks and the time of a kernel; links and memory are \
             not calibrated",
        ),
        (_, Calibration::NotOnThisCard) => notes.push(
            "not calibrated on this card: peaks are its maker's, shares of them and the time of a kernel an H200's; links and \
             memory are not calibrated either",
        ),
    }
    match kernels {
        Kernels::Cpu => {}
        Kernels::Gpu => notes.push(&own_kernels),
        Kernels::Composed => {
            notes.push("libtorch's operations one after the other: there are no kernels of its own for it")
        }
    }
    if course.phases.iter().any(|phase| matches!(phase.steps, crate::plan::Steps::Search { .. })) {
        notes.push(
            "of the operations that stages drop, those survive that searches keep most: skip_connect, sep_conv_3x3, \
             dil_conv_3x3, dil_conv_5x5, max_pool_3x3",
        );
    }
    let loading = match course.decodes {
        true => format!(
            "a core decodes {DECODED_IMAGES_PER_CORE} photos of ImageNet a second (a Xeon whose other core does so too, \
             docs/performance.md)"
        ),
        false => format!("a core crops {CROPPED_IMAGES_PER_CORE} small images a second: not calibrated"),
    };
    notes.push(&loading);
    notes.push("gradients are complete at an even pace in backward; checkpoints and figures take no time");
    of_trial.into_iter().chain(notes.into_iter().map(str::to_owned)).collect()
}

fn trial_note(trial: &Trial) -> String {
    let paces = |of: fn(&Pace) -> f64| {
        let paces: Vec<String> = trial.paces.iter().map(|pace| format!("{:.2}", of(pace))).collect();
        paces.join(", ")
    };
    let ((least, greatest), alphas, weights) = (trial.spread, paces(|pace| pace.alphas), paces(|pace| pace.weights));
    let alphas = if alphas == weights { String::new() } else { format!(" (of the alphas {alphas})") };
    format!(
        "calibrated on this machine as it is now, by {:.0} s of steps of these networks with fewer cells and at most 32 images: \
         they took {weights}{alphas} times as long as the peaks say, single ones {least:.2} to {greatest:.2} times the median",
        trial.seconds
    )
}

fn bytes(bytes: f64) -> String {
    if bytes < GIB { format!("{:.0} MiB", bytes / MIB) } else { format!("{:.1} GiB", bytes / GIB) }
}

/// `3.2 h`, `12.5 min`, `40 s`.
fn duration(hours: f64) -> String {
    match hours {
        hours if hours >= 1.0 => format!("{hours:.1} h"),
        hours if hours >= 1.0 / 60.0 => format!("{:.1} min", 60.0 * hours),
        hours => format!("{:.0} s", 3600.0 * hours),
    }
}
