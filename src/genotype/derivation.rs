//! From alphas to cells: the final cell, and its variants with fewer `skip_connect`s.
//!
//! Source: P-DARTS (arXiv:1904.12760), sections 3.2 and 3.3, and its authors' code, which settles
//! what the paper leaves open: the reduction cell is never restricted, and of equal probabilities
//! the last wins.

use serde::{Deserialize, Serialize};

use super::alphas::{Alphas, CellAlphas};
use super::cell::{CellKind, Edge, NUM_NODES, edges};
use super::error::GenotypeError;
use super::genotype::{EDGES_PER_NODE, Genotype};
use super::operation::Operation;
use super::switches::{CellSwitches, Switches};

/// Edges of a derived cell, and so the most `skip_connect`s it can have.
const MAX_SKIP_CONNECTS: usize = NUM_NODES * EDGES_PER_NODE;

/// A cell derived under a limit on the `skip_connect`s of the normal cell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Variant {
    /// The limit from which on (downwards) this is the genotype: M in the paper.
    pub max_skip_connects: usize,
    /// `skip_connect`s the normal cell has.
    pub skip_connects: usize,
    /// The cells.
    pub genotype: Genotype,
}

impl Variant {
    fn new(max_skip_connects: usize, normal: &[Choice], reduce: &[Choice]) -> Self {
        let edges = |cell: &[Choice]| -> Vec<(Operation, usize)> {
            cell.iter().map(|choice| (choice.operation, choice.edge.source)).collect()
        };
        Self::of(max_skip_connects, Genotype::of_edges(edges(normal), edges(reduce)))
    }

    /// `genotype` as what holds under the limit `max_skip_connects`.
    pub fn of(max_skip_connects: usize, genotype: Genotype) -> Self {
        Self { max_skip_connects, skip_connects: genotype.skip_connects(), genotype }
    }
}

/// The final genotype, without a limit on `skip_connect`s: on each edge the most probable
/// operation other than `none`, and for each node the two most probable of its edges.
///
/// # Errors
/// [`GenotypeError::InvalidAlphas`] if the alphas do not fit the switches or are not finite;
/// [`GenotypeError::OnlyNone`] if an edge has nothing but `none`.
pub fn derive(switches: &Switches, alphas: &Alphas) -> Result<Genotype, GenotypeError> {
    alphas.check(switches)?;
    let strongest = |kind| choose(kind, switches.cell(kind), &alphas.strengths(kind));
    let normal = strongest(CellKind::Normal)?;
    let reduce = strongest(CellKind::Reduction)?;
    Ok(Variant::new(MAX_SKIP_CONNECTS, &normal, &reduce).genotype)
}

/// The genotype for every limit M on the normal cell's `skip_connect`s, from 8 down to 0, where
/// it changes; the first is that of [`derive()`].
///
/// While the normal cell has more than M, the least probable of its `skip_connect`s gets
/// probability 0 and edges and operations are chosen anew. If the switches leave no other choice
/// than `skip_connect`, the variants end before that limit.
///
/// # Errors
/// Those of [`derive()`].
pub fn restrict(switches: &Switches, alphas: &Alphas) -> Result<Vec<Variant>, GenotypeError> {
    alphas.check(switches)?;
    let choose_normal = |probabilities: &CellAlphas| choose(CellKind::Normal, &switches.normal, probabilities);
    let reduce = choose(CellKind::Reduction, &switches.reduction, &alphas.strengths(CellKind::Reduction))?;
    let mut remaining = alphas.strengths(CellKind::Normal);
    let mut normal = choose_normal(&remaining)?;
    let mut variants = vec![Variant::new(MAX_SKIP_CONNECTS, &normal, &reduce)];
    for max_skip_connects in (0..MAX_SKIP_CONNECTS).rev() {
        if skip_connects(&normal).count() <= max_skip_connects {
            continue;
        }
        while skip_connects(&normal).count() > max_skip_connects {
            // Differs from the authors' code: a skip that stays although its probability is 0
            // has no alternative; theirs would go round for ever.
            let Some(weakest) = skip_connects(&normal)
                .filter(|skip| skip.probability > 0.0)
                .min_by(|a, b| a.probability.total_cmp(&b.probability))
            else {
                return Ok(variants);
            };
            remaining[weakest.edge.index][weakest.position] = 0.0;
            normal = choose_normal(&remaining)?;
        }
        variants.push(Variant::new(max_skip_connects, &normal, &reduce));
    }
    Ok(variants)
}

/// The variant that holds under the limit `max_skip_connects`, among those of [`restrict`].
///
/// `None` only if there are no variants. With M = 2 this is the result of P-DARTS.
pub fn variant_within(variants: &[Variant], max_skip_connects: usize) -> Option<&Variant> {
    let limit = max_skip_connects.min(MAX_SKIP_CONNECTS);
    variants.iter().rfind(|variant| variant.max_skip_connects >= limit)
}

/// The operation chosen on an edge.
#[derive(Copy, Clone)]
struct Choice {
    edge: Edge,
    operation: Operation,
    /// Of the operation among the edge's live ones.
    position: usize,
    probability: f64,
}

/// The operations and edges of a final cell, by node and then by source.
fn choose(cell: CellKind, switches: &CellSwitches, probabilities: &[Vec<f64>]) -> Result<Vec<Choice>, GenotypeError> {
    let strongest_operation = |edge: Edge| {
        let live = switches.live(edge.index).iter().zip(&probabilities[edge.index]);
        live.enumerate()
            .map(|(position, (&operation, &probability))| Choice { edge, operation, position, probability })
            .filter(|choice| choice.operation != Operation::None)
            .max_by(|a, b| a.probability.total_cmp(&b.probability))
            .ok_or(GenotypeError::OnlyNone { cell, edge: edge.index })
    };
    let choices = edges().map(strongest_operation).collect::<Result<Vec<_>, _>>()?;
    let by_node = choices.chunk_by(|a, b| a.edge.node == b.edge.node);
    Ok(by_node.flat_map(strongest_edges).collect())
}

/// The two most probable of the edges into one node, by source.
fn strongest_edges(incoming: &[Choice]) -> Vec<Choice> {
    let mut choices = incoming.to_vec();
    choices.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    let mut kept = choices.split_off(choices.len() - EDGES_PER_NODE);
    kept.sort_by_key(|choice| choice.edge.source);
    kept
}

fn skip_connects(cell: &[Choice]) -> impl Iterator<Item = &Choice> {
    cell.iter().filter(|choice| choice.operation == Operation::SkipConnect)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cell::NUM_EDGES;
    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        primitives: Vec<Operation>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        stages: Vec<Stage>,
        genotype: Genotype,
        skips: usize,
        restricted: Vec<Restricted>,
    }

    #[derive(Deserialize)]
    struct Stage {
        switches_normal: Vec<[bool; 8]>,
        switches_reduce: Vec<[bool; 8]>,
        alphas_normal: CellAlphas,
        alphas_reduce: CellAlphas,
        kept_normal: Vec<[bool; 8]>,
        kept_reduce: Vec<[bool; 8]>,
    }

    #[derive(Deserialize)]
    struct Restricted {
        max_skip: usize,
        skips: usize,
        genotype: Genotype,
    }

    fn switches(normal: &[[bool; 8]], reduction: &[[bool; 8]]) -> Switches {
        Switches {
            normal: CellSwitches::from_mask(normal).unwrap(),
            reduction: CellSwitches::from_mask(reduction).unwrap(),
        }
    }

    #[test]
    fn derives_what_the_authors_code_derives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/derivation.json");
        let text = std::fs::read_to_string(path).unwrap();
        let fixture: Fixture = serde_json::from_str(&text).unwrap();
        assert_eq!(fixture.primitives, Operation::SEARCH_SPACE);
        assert_eq!(fixture.cases.len(), 40);
        for case in fixture.cases {
            let mut live = Switches::full(&Operation::SEARCH_SPACE).unwrap();
            let mut variants = Vec::new();
            let last = case.stages.len() - 1;
            for (index, stage) in case.stages.into_iter().enumerate() {
                assert_eq!(live, switches(&stage.switches_normal, &stage.switches_reduce));
                let alphas = Alphas { normal: stage.alphas_normal, reduction: stage.alphas_reduce, betas: None };
                if index == last {
                    assert_eq!(derive(&live, &alphas).unwrap(), case.genotype);
                    variants = restrict(&live, &alphas).unwrap();
                }
                live = live.drop_weakest(&alphas, [5, 3, 1][index], index == last).unwrap();
                assert_eq!(live, switches(&stage.kept_normal, &stage.kept_reduce));
            }
            let unrestricted = Restricted { max_skip: MAX_SKIP_CONNECTS, skips: case.skips, genotype: case.genotype };
            let expected: Vec<Variant> = std::iter::once(unrestricted)
                .chain(case.restricted)
                .map(|restricted| Variant {
                    max_skip_connects: restricted.max_skip,
                    skip_connects: restricted.skips,
                    genotype: restricted.genotype,
                })
                .collect();
            assert_eq!(variants, expected);
        }
    }

    /// The same alphas on every edge of both cells.
    fn uniform(edge: &[f64]) -> Alphas {
        let cell = vec![edge.to_vec(); NUM_EDGES];
        Alphas { normal: cell.clone(), reduction: cell, betas: None }
    }

    #[test]
    fn the_last_of_equal_edges_and_operations_wins() {
        let genotype = derive(&Switches::full(&Operation::SEARCH_SPACE).unwrap(), &uniform(&[0.0; 8])).unwrap();
        assert!(genotype.normal.iter().all(|(operation, _)| *operation == Operation::DilConv5x5));
        let sources: Vec<usize> = genotype.normal.iter().map(|(_, source)| *source).collect();
        assert_eq!(sources, [0, 1, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn none_is_never_chosen_however_probable() {
        let operations = [Operation::None, Operation::SepConv3x3];
        let genotype = derive(&Switches::full(&operations).unwrap(), &uniform(&[9.0, 0.0])).unwrap();
        assert!(genotype.normal.iter().all(|(operation, _)| *operation == Operation::SepConv3x3));
    }

    #[test]
    fn edge_with_nothing_but_none_is_an_error() {
        let switches = Switches::full(&[Operation::None]).unwrap();
        assert_eq!(
            derive(&switches, &uniform(&[0.0])).unwrap_err().to_string(),
            "edge 0 of the normal cell has only `none` left: no cell can be derived (keep more operations in the earlier stages)"
        );
    }

    #[test]
    fn restriction_ends_where_there_is_no_other_choice() {
        let switches = Switches::full(&[Operation::SkipConnect]).unwrap();
        let variants = restrict(&switches, &uniform(&[0.0])).unwrap();
        assert_eq!(variants.len(), 1);
        assert_eq!(variant_within(&variants, 2).unwrap().skip_connects, 8);
    }

    #[test]
    fn the_variant_within_a_limit_is_the_last_at_or_above_it() {
        let variant = |max_skip_connects| Variant {
            max_skip_connects,
            skip_connects: max_skip_connects.min(5),
            genotype: derive(&Switches::full(&Operation::SEARCH_SPACE).unwrap(), &uniform(&[0.0; 8])).unwrap(),
        };
        let variants = [variant(8), variant(4), variant(1)];
        let within = |limit| variant_within(&variants, limit).unwrap().max_skip_connects;
        assert_eq!([9, 8, 5, 4, 2, 1, 0].map(within), [8, 8, 8, 4, 4, 1, 1]);
        assert_eq!(variant_within(&[], 2), None);
    }

    proptest! {
        #[test]
        fn variants_keep_to_their_limits_and_can_be_built(
            normal in prop::collection::vec(prop::collection::vec(-2.0..2.0, 3), NUM_EDGES),
            reduction in prop::collection::vec(prop::collection::vec(-2.0..2.0, 3), NUM_EDGES),
        ) {
            let operations = [Operation::None, Operation::SkipConnect, Operation::DilConv3x3];
            let variants = restrict(&Switches::full(&operations).unwrap(), &Alphas { normal, reduction, betas: None }).unwrap();
            prop_assert!(variants.is_sorted_by(|a, b| a.max_skip_connects > b.max_skip_connects));
            prop_assert_eq!(variants.last().unwrap().skip_connects, 0);
            for Variant { max_skip_connects, skip_connects, genotype } in variants {
                prop_assert!(skip_connects <= max_skip_connects);
                prop_assert_eq!(skip_connects, genotype.skip_connects());
                prop_assert_eq!(genotype.to_string().parse::<Genotype>().unwrap(), genotype);
            }
        }
    }
}
