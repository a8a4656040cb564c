//! Limits on the network that a cell is evaluated in, and the most probable cell within them.
//!
//! What a network costs is a sum over the edges of its cells: an operation on an edge costs the same whatever the others are,
//! and only that the edge reads an input of the cell makes a difference, where it reduces. So the most probable cell within
//! limits is found exactly: for each node the pairs of edges and operations are sorted by what they cost together, of equal
//! cost only the most probable is kept, and nodes are added up one after the other.

use std::collections::BTreeMap;

use super::alphas::Alphas;
use super::cell::{CellKind, Edge, NUM_INPUTS, NUM_NODES, edges};
use super::complexity::{NetworkShape, count};
use super::derivation::{Variant, variant_within};
use super::error::GenotypeError;
use super::genotype::{EDGES_PER_NODE, Genotype};
use super::operation::Operation;
use super::switches::Switches;

/// Edges of a derived cell, and so the most `skip_connect`s it can have.
const MAX_SKIP_CONNECTS: usize = NUM_NODES * EDGES_PER_NODE;

/// Limits on the network of a cell.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CostLimits {
    /// The network.
    pub shape: NetworkShape,
    /// Most parameters, without the auxiliary head.
    pub max_parameters: Option<u64>,
    /// Most multiply-adds of one image, of convolutions and linear layers.
    pub max_multiply_adds: Option<u64>,
}

/// What an operation adds, or a network has, in the order in which it is limited.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Price {
    /// Without the auxiliary head.
    pub parameters: u64,
    /// Of one image.
    pub multiply_adds: u64,
}

impl Price {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            parameters: self.parameters.saturating_add(other.parameters),
            multiply_adds: self.multiply_adds.saturating_add(other.multiply_adds),
        }
    }
}

/// The prices of all operations in networks of one shape.
#[derive(Clone, Debug)]
pub struct PriceList {
    limits: CostLimits,
    /// Of a network whose cells only pool.
    base: Price,
}

/// An edge with its operation.
type Choice = (Operation, usize);

/// Choices of some nodes of a cell, two for each node in order, and how probable they are together.
#[derive(Clone, Debug)]
struct Partial {
    choices: Vec<Choice>,
    log_probability: f64,
}

/// What some nodes of a cell cost together with their skip connections, and the most probable that cost so much.
type Front = BTreeMap<(Price, usize), Partial>;

impl CostLimits {
    /// Whether nothing is limited.
    pub fn are_open(&self) -> bool {
        self.max_parameters.is_none() && self.max_multiply_adds.is_none()
    }

    /// Whether a network that costs `price` is within them.
    pub fn allow(&self, price: Price) -> bool {
        self.max_parameters.is_none_or(|most| price.parameters <= most)
            && self.max_multiply_adds.is_none_or(|most| price.multiply_adds <= most)
    }

    /// Whether the network of `genotype` is within them.
    pub fn allow_cell(&self, genotype: &Genotype) -> bool {
        self.allow(price_of(genotype, &self.shape))
    }
}

fn price_of(genotype: &Genotype, shape: &NetworkShape) -> Price {
    let cost = count(genotype, shape);
    Price { parameters: cost.parameters, multiply_adds: cost.multiply_adds }
}

/// A cell whose nodes pool both inputs of the cell, but for `choice` on the last edge of a cell of this kind.
fn pooling_cell(choice: Option<(CellKind, Choice)>) -> Genotype {
    let cell = |kind| {
        let mut cell = [(Operation::MaxPool3x3, 0), (Operation::MaxPool3x3, 1)].repeat(NUM_NODES);
        if let Some((of_kind, choice)) = choice
            && of_kind == kind
        {
            cell[MAX_SKIP_CONNECTS - 1] = choice;
        }
        cell
    };
    Genotype::of_edges(cell(CellKind::Normal), cell(CellKind::Reduction))
}

impl PriceList {
    /// Counts what each operation costs in the network of `limits`.
    pub fn new(limits: CostLimits) -> Self {
        Self { limits, base: price_of(&pooling_cell(None), &limits.shape) }
    }

    /// What the live operations of each edge of a cell add; `none` adds nothing.
    pub fn of_cell(&self, kind: CellKind, live: &Switches) -> Vec<Vec<Price>> {
        let mut prices: BTreeMap<(Operation, bool), Price> = BTreeMap::new();
        let mut price = |operation: Operation, edge: Edge| match operation {
            Operation::None => Price::default(),
            operation => {
                let key = (operation, edge.source < NUM_INPUTS);
                *prices.entry(key).or_insert_with(|| self.price(kind, operation, edge.source))
            }
        };
        edges()
            .map(|edge| live.cell(kind).live(edge.index).iter().map(|&operation| price(operation, edge)).collect())
            .collect()
    }

    /// What `operation` on an edge from state `source` adds.
    fn price(&self, kind: CellKind, operation: Operation, source: usize) -> Price {
        // All states behind the inputs are alike.
        let source = source.min(NUM_INPUTS);
        let with = price_of(&pooling_cell(Some((kind, (operation, source)))), &self.limits.shape);
        Price {
            parameters: with.parameters - self.base.parameters,
            multiply_adds: with.multiply_adds - self.base.multiply_adds,
        }
    }

    /// Whether the nodes' choices so far, with all others pooling, are within the limits.
    fn allows(&self, price: Price) -> bool {
        self.limits.allow(self.base.plus(price))
    }

    /// The most probable choices of a cell for whatever they cost together; `weights` are those of the live operations of
    /// each edge.
    fn front(&self, kind: CellKind, live: &Switches, weights: &[Vec<f64>], max_skips: usize) -> Front {
        let prices = self.of_cell(kind, live);
        let edges: Vec<Edge> = edges().collect();
        let empty = Partial { choices: Vec::new(), log_probability: 0.0 };
        let mut front = Front::from([((Price::default(), 0), empty)]);
        for incoming in edges.chunk_by(|a, b| a.node == b.node) {
            let of_edge = |edge: &Edge| -> Vec<(Choice, f64, Price)> {
                let operations =
                    live.cell(kind).live(edge.index).iter().zip(&weights[edge.index]).zip(&prices[edge.index]);
                let real = operations.filter(|((operation, _), _)| **operation != Operation::None);
                real.map(|((&operation, weight), &price)| {
                    // A share may be too small for a number.
                    let log = weight.max(f64::MIN_POSITIVE).ln();
                    ((operation, edge.source), log, price)
                })
                .collect()
            };
            let options: Vec<Vec<(Choice, f64, Price)>> = incoming.iter().map(of_edge).collect();
            let mut node = Front::new();
            for (index, first) in options.iter().enumerate() {
                for second in &options[index + 1..] {
                    for &(one, log_one, price_one) in first {
                        for &(other, log_other, price_other) in second {
                            let pair = Partial { choices: vec![one, other], log_probability: log_one + log_other };
                            keep(&mut node, (price_one.plus(price_other), pair.num_skips()), pair);
                        }
                    }
                }
            }
            let mut joined = Front::new();
            for (&(price, skips), before) in &front {
                for (&(price_of_node, skips_of_node), pair) in &node {
                    let (price, skips) = (price.plus(price_of_node), skips + skips_of_node);
                    if self.allows(price) && (kind == CellKind::Reduction || skips <= max_skips) {
                        keep(&mut joined, (price, skips), before.with(pair));
                    }
                }
            }
            front = joined;
        }
        front
    }

    /// The most probable cell within the limits whose normal cell has at most `max_skips` skip connections.
    fn best(&self, live: &Switches, weights: [&[Vec<f64>]; 2], max_skips: usize) -> Option<Genotype> {
        let [normal, reduction] = [CellKind::Normal, CellKind::Reduction]
            .map(|kind| self.front(kind, live, weights[usize::from(kind == CellKind::Reduction)], max_skips));
        let reductions = undominated(&reduction);
        let mut best: Option<(f64, &Partial, &Partial)> = None;
        for ((price, _), one) in &normal {
            for (of_reduction, other) in &reductions {
                let log = one.log_probability + other.log_probability;
                let is_better = best.as_ref().is_none_or(|(found, ..)| log > *found);
                if is_better && self.allows(price.plus(*of_reduction)) {
                    best = Some((log, one, other));
                }
            }
        }
        best.map(|(_, normal, reduction)| Genotype::of_edges(normal.choices.clone(), reduction.choices.clone()))
    }

    /// The cheapest network of a cell with these operations, by `measure`, whose normal cell has at most `max_skips` skip
    /// connections; nothing where that cannot be.
    fn cheapest(&self, live: &Switches, max_skips: usize, measure: fn(&Price) -> u64) -> Option<(Price, Genotype)> {
        let open = PriceList {
            limits: CostLimits { max_parameters: None, max_multiply_adds: None, ..self.limits },
            ..self.clone()
        };
        let weights = |kind: CellKind| live.cell(kind).iter().map(|live| vec![1.0; live.len()]).collect::<Vec<_>>();
        let cheapest = |kind| {
            let front = open.front(kind, live, &weights(kind), max_skips);
            front
                .into_iter()
                .min_by_key(|((price, _), _)| (measure(price), *price))
                .map(|((price, _), cell)| (price, cell.choices))
        };
        let (normal, reduction) = (cheapest(CellKind::Normal)?, cheapest(CellKind::Reduction)?);
        let price = self.base.plus(normal.0).plus(reduction.0);
        Some((price, Genotype::of_edges(normal.1, reduction.1)))
    }
}

impl Partial {
    fn num_skips(&self) -> usize {
        self.choices.iter().filter(|(operation, _)| *operation == Operation::SkipConnect).count()
    }

    /// The nodes of `self`, then that of `pair`.
    fn with(&self, pair: &Self) -> Self {
        Self {
            choices: [&self.choices[..], &pair.choices].concat(),
            log_probability: self.log_probability + pair.log_probability,
        }
    }
}

/// Enters `partial`, unless what costs as much is as probable.
fn keep(front: &mut Front, key: (Price, usize), partial: Partial) {
    match front.get_mut(&key) {
        Some(known) if known.log_probability >= partial.log_probability => {}
        Some(known) => *known = partial,
        None => drop(front.insert(key, partial)),
    }
}

/// What is not both dearer and less probable than another.
fn undominated(front: &Front) -> Vec<(Price, &Partial)> {
    let mut kept: Vec<(Price, &Partial)> = Vec::new();
    // In ascending order of parameters.
    for ((price, _), partial) in front {
        let is_dominated = kept.iter().any(|(cheaper, known)| {
            cheaper.multiply_adds <= price.multiply_adds && known.log_probability >= partial.log_probability
        });
        if !is_dominated {
            kept.push((*price, partial));
        }
    }
    kept
}

/// The most probable cell within `limits` under each limit on the normal cell's `skip_connect`s, as
/// [`restrict`](super::restrict) has them without other limits: its variants that are within `limits` stay. Where the live
/// operations leave no cell within them, the one variant is the smallest that they leave.
///
/// # Errors
/// [`GenotypeError::InvalidAlphas`] if the alphas do not fit the switches.
pub fn variants_within(
    variants: Vec<Variant>,
    switches: &Switches,
    alphas: &Alphas,
    limits: CostLimits,
) -> Result<Vec<Variant>, GenotypeError> {
    alphas.check(switches)?;
    if limits.are_open() || variants.iter().all(|variant| limits.allow_cell(&variant.genotype)) {
        return Ok(variants);
    }
    let prices = PriceList::new(limits);
    let [normal, reduction] = CellKind::ALL.map(|kind| alphas.strengths(kind));
    let mut within: Vec<Variant> = Vec::new();
    for max_skip_connects in (0..=MAX_SKIP_CONNECTS).rev() {
        if within.last().is_some_and(|last| last.skip_connects <= max_skip_connects) {
            continue;
        }
        let ordinary = variant_within(&variants, max_skip_connects).map(|variant| &variant.genotype);
        let ordinary = ordinary.filter(|cell| cell.skip_connects() <= max_skip_connects && limits.allow_cell(cell));
        let best = match ordinary {
            Some(genotype) => Some(genotype.clone()),
            None => prices.best(switches, [&normal, &reduction], max_skip_connects),
        };
        within.extend(best.map(|genotype| Variant::of(max_skip_connects, genotype)));
    }
    if within.is_empty() {
        let measure: fn(&Price) -> u64 = match limits.max_parameters {
            Some(_) => |price| price.parameters,
            None => |price| price.multiply_adds,
        };
        let smallest = prices.cheapest(switches, MAX_SKIP_CONNECTS, measure);
        within.extend(smallest.map(|(_, genotype)| Variant::of(MAX_SKIP_CONNECTS, genotype)));
    }
    Ok(within)
}

/// Why no cell of some operations is within limits.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TooSmall {
    /// No cell has so few parameters.
    Parameters {
        /// Of the smallest.
        smallest: u64,
    },
    /// No cell has so few multiply-adds, or none that is within the limit on parameters.
    MultiplyAdds {
        /// Of the smallest.
        smallest: u64,
    },
    /// Each limit can be kept, but not both.
    Both {
        /// Parameters of the cell with the fewest multiply-adds.
        parameters: u64,
    },
}

/// Says why no cell of `operations` is within `limits`; nothing where one is.
///
/// # Errors
/// [`GenotypeError::InvalidSwitches`] if an operation is named twice.
pub fn check_limits(
    operations: &[Operation],
    max_skip_connects: usize,
    limits: CostLimits,
) -> Result<Option<TooSmall>, GenotypeError> {
    if limits.are_open() {
        return Ok(None);
    }
    let (prices, live) = (PriceList::new(limits), Switches::full(operations)?);
    // Without other operations than skips the limit on them is not kept either.
    let max_skips = if operations.iter().all(|o| matches!(o, Operation::None | Operation::SkipConnect)) {
        MAX_SKIP_CONNECTS
    } else {
        max_skip_connects
    };
    let smallest = |measure: fn(&Price) -> u64| prices.cheapest(&live, max_skips, measure).map(|(price, _)| price);
    let (Some(small), Some(quick)) = (smallest(|price| price.parameters), smallest(|price| price.multiply_adds)) else {
        return Ok(None);
    };
    Ok(match limits {
        CostLimits { max_parameters: Some(most), .. } if small.parameters > most => {
            Some(TooSmall::Parameters { smallest: small.parameters })
        }
        CostLimits { max_multiply_adds: Some(most), .. } if quick.multiply_adds > most => {
            Some(TooSmall::MultiplyAdds { smallest: quick.multiply_adds })
        }
        _ => {
            let weights = |kind: CellKind| live.cell(kind).iter().map(|live| vec![1.0; live.len()]).collect::<Vec<_>>();
            let [normal, reduction] = CellKind::ALL.map(weights);
            let found = prices.best(&live, [&normal, &reduction], max_skips);
            found.is_none().then_some(TooSmall::Both { parameters: quick.parameters })
        }
    })
}

#[cfg(test)]
mod tests {
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::cell::NUM_EDGES;
    use super::super::derivation::restrict;
    use super::super::space::CellSpace;
    use super::super::switches::CellSwitches;
    use super::*;

    const SMALL: NetworkShape = NetworkShape { channels: 4, cells: 5, ..NetworkShape::cifar(10) };

    fn limits(shape: NetworkShape, max_parameters: Option<u64>, max_multiply_adds: Option<u64>) -> CostLimits {
        CostLimits { shape, max_parameters, max_multiply_adds }
    }

    /// Every way to choose the edges of a cell with one live operation an edge, and its log-probability.
    fn all_cells(live: &CellSwitches, strengths: &[Vec<f64>]) -> Vec<(Vec<Choice>, f64)> {
        let edges: Vec<Edge> = edges().collect();
        edges.chunk_by(|a, b| a.node == b.node).fold(vec![(Vec::new(), 0.0)], |cells, incoming| {
            let choice = |edge: &Edge| ((live.live(edge.index)[0], edge.source), strengths[edge.index][0].ln());
            let pairs = incoming
                .iter()
                .enumerate()
                .flat_map(|(index, one)| incoming[index + 1..].iter().map(move |other| (choice(one), choice(other))));
            let pairs: Vec<_> = pairs.collect();
            let longer = cells.iter().flat_map(|(cell, log)| {
                pairs.iter().map(move |(one, other)| ([&cell[..], &[one.0, other.0]].concat(), log + one.1 + other.1))
            });
            longer.collect()
        })
    }

    #[test]
    fn best_cell_within_limits_is_that_of_trying_all() {
        for seed in 0..2 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut cell = || -> CellSwitches {
                let live: Vec<_> =
                    (0..NUM_EDGES).map(|_| vec![*Operation::SEARCH_SPACE[1..].choose(&mut random).unwrap()]).collect();
                live.try_into().unwrap()
            };
            let switches = Switches { normal: cell(), reduction: cell() };
            let mut weights =
                || (0..NUM_EDGES).map(|_| vec![random.random_range(0.01..1.0)]).collect::<Vec<Vec<f64>>>();
            let (of_normal, of_reduction) = (weights(), weights());
            let (normals, reductions) =
                (all_cells(&switches.normal, &of_normal), all_cells(&switches.reduction, &of_reduction));
            assert_eq!((normals.len(), reductions.len()), (180, 180));
            let mut all: Vec<(f64, Genotype, Price)> = Vec::new();
            for (normal, log_normal) in &normals {
                for (reduction, log_reduction) in &reductions {
                    let genotype = Genotype::of_edges(normal.clone(), reduction.clone());
                    let price = price_of(&genotype, &SMALL);
                    all.push((log_normal + log_reduction, genotype, price));
                }
            }
            let mut parameters: Vec<u64> = all.iter().map(|(.., price)| price.parameters).collect();
            let mut multiply_adds: Vec<u64> = all.iter().map(|(.., price)| price.multiply_adds).collect();
            parameters.sort_unstable();
            multiply_adds.sort_unstable();
            for (share, max_skips) in [(0.0, 8), (0.01, 8), (0.2, 1), (0.5, 8), (1.0, 0), (1.0, 8)] {
                let at = |sorted: &[u64]| Some(sorted[((sorted.len() - 1) as f64 * share) as usize]);
                let limits = limits(SMALL, at(&parameters), at(&multiply_adds));
                let is_within = |(_, genotype, price): &&(f64, Genotype, Price)| {
                    limits.allow(*price) && genotype.skip_connects() <= max_skips
                };
                let expected = all.iter().filter(is_within).map(|(log, ..)| *log).fold(f64::NEG_INFINITY, f64::max);
                let found = PriceList::new(limits).best(&switches, [&of_normal, &of_reduction], max_skips);
                let Some(found) = found else {
                    assert_eq!(expected, f64::NEG_INFINITY, "{share} {max_skips}");
                    continue;
                };
                assert!(limits.allow_cell(&found) && found.skip_connects() <= max_skips);
                let log = all.iter().find(|(_, genotype, _)| *genotype == found).unwrap().0;
                assert!((log - expected).abs() < 1e-9, "{share} {max_skips}: {log} instead of {expected}");
            }
        }
    }

    #[test]
    fn prices_add_up_to_the_count_of_any_cell() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for shape in [NetworkShape::cifar(10), NetworkShape::imagenet(), SMALL] {
            let prices = PriceList::new(limits(shape, None, None));
            let space = CellSpace::new(&Operation::SEARCH_SPACE, 8, prices.limits);
            for _ in 0..20 {
                let cell = space.draw(&mut random).unwrap();
                let of_kind = |kind| {
                    let edges = cell.edges(kind).iter();
                    edges.fold(Price::default(), |sum, &(operation, source)| {
                        sum.plus(prices.price(kind, operation, source))
                    })
                };
                let sum = prices.base.plus(of_kind(CellKind::Normal)).plus(of_kind(CellKind::Reduction));
                assert_eq!(sum, price_of(&cell, &shape));
            }
        }
    }

    #[test]
    fn variants_within_limits_stay_and_the_others_are_the_best_that_are() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut cell = || (0..NUM_EDGES).map(|_| (0..8).map(|_| random.random_range(-1.0..1.0)).collect()).collect();
        let alphas = Alphas { normal: cell(), reduction: cell(), betas: None };
        let switches = Switches::full(&Operation::SEARCH_SPACE).unwrap();
        let free = restrict(&switches, &alphas).unwrap();
        let within = |limits| variants_within(free.clone(), &switches, &alphas, limits).unwrap();
        let shape = NetworkShape::cifar(10);
        assert_eq!(within(limits(shape, None, None)), free);
        let largest = free.iter().map(|variant| price_of(&variant.genotype, &shape).parameters).max().unwrap();
        assert_eq!(within(limits(shape, Some(largest), None)), free);
        let tight = limits(shape, Some(2_000_000), None);
        let limited = within(tight);
        assert!(limited.iter().all(|variant| tight.allow_cell(&variant.genotype)) && limited != free);
        assert!(limited.iter().all(|variant| variant.skip_connects <= variant.max_skip_connects));
        assert_eq!(limited.last().unwrap().skip_connects, 0);
        // Below the smallest of all, it is the smallest.
        let none = within(limits(shape, Some(1), None));
        let Some(TooSmall::Parameters { smallest }) =
            check_limits(&Operation::SEARCH_SPACE, 8, limits(shape, Some(1), None)).unwrap()
        else {
            panic!("a network of one parameter");
        };
        assert_eq!((none.len(), price_of(&none[0].genotype, &shape).parameters), (1, smallest));
        assert_eq!(check_limits(&Operation::SEARCH_SPACE, 8, limits(shape, Some(smallest), None)).unwrap(), None);
    }

    #[test]
    fn mutants_differ_in_one_place_and_are_within_the_limits() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let limits = limits(NetworkShape::cifar(10), Some(3_000_000), None);
        let space = CellSpace::new(&Operation::SEARCH_SPACE, 2, limits);
        let mut cell = space.draw(&mut random).unwrap();
        let mut num_changed = 0;
        for _ in 0..200 {
            let mutant = space.mutate(&cell, &mut random);
            assert!(limits.allow_cell(&mutant) && mutant.skip_connects() <= 2);
            let mut differences = 0;
            for kind in CellKind::ALL {
                for (one, other) in cell.edges(kind).chunks(2).zip(mutant.edges(kind).chunks(2)) {
                    assert!(other[0].1 < other[1].1);
                    differences += usize::from(one != other);
                }
            }
            assert!(differences <= 1);
            num_changed += differences;
            cell = mutant;
        }
        assert!(num_changed > 150, "{num_changed}");
    }
}
