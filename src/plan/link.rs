//! Sums of gradients over ranks, and how much of their time the backward pass hides.

use super::error::PlanError;

const GIGA: f64 = 1e9;
/// Bytes a second, one direction, of PCI Express 4.0 with 16 lanes.
pub const PCI_EXPRESS: f64 = 32.0 * GIGA;
/// Of a node with InfiniBand at 400 Gbit/s.
pub const INFINIBAND: f64 = 50.0 * GIGA;
/// Of a node with Ethernet at 100 Gbit/s.
pub const ETHERNET: f64 = 12.5 * GIGA;
/// Of a link's rate, what sums reach: assumed.
pub const LINK_SHARE: f64 = 0.7;
/// A message between two nodes or GPUs begins to arrive after this: assumed.
const LATENCY_SECONDS: f64 = 10e-6;

/// Ranks on nodes.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Cluster {
    /// In all.
    pub ranks: usize,
    /// With equal numbers of ranks.
    pub nodes: usize,
    /// Bytes a second from a rank to its neighbour on the node.
    pub node_link: f64,
    /// Bytes a second from a node to its neighbour.
    pub network: f64,
}

impl Cluster {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When there is no rank or no node, or nodes cannot have equally many.
    pub fn new(ranks: usize, nodes: usize, node_link: f64, network: f64) -> Result<Self, PlanError> {
        for (what, number) in [("--gpus 0", ranks), ("--nodes 0", nodes)] {
            if number == 0 {
                return Err(PlanError::Zero { what });
            }
        }
        if !ranks.is_multiple_of(nodes) {
            return Err(PlanError::Nodes { ranks, nodes });
        }
        Ok(Self { ranks, nodes, node_link, network })
    }

    /// Bytes a second that a ring through all ranks passes on: of its slowest link.
    pub fn ring_bandwidth(&self) -> f64 {
        if self.nodes > 1 { self.node_link.min(self.network) } else { self.node_link }
    }
}

/// Seconds of an all-reduce of `bytes` in a ring: each rank sends all but its share twice, in as many messages as there are
/// others, twice. Source: Patarasuk and Yuan, *Bandwidth optimal all-reduce algorithms* (2009).
pub fn ring_seconds(bytes: f64, cluster: &Cluster) -> f64 {
    let ranks = cluster.ranks as f64;
    if cluster.ranks < 2 {
        return 0.0;
    }
    2.0 * (ranks - 1.0) / ranks * bytes / cluster.ring_bandwidth() + 2.0 * (ranks - 1.0) * LATENCY_SECONDS
}

/// What is sent at once.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Bucket {
    /// Of gradients as they are in memory.
    pub bytes: f64,
}

/// Cuts `bytes` of gradients into a first bucket and others as the reducer does, of `num_tensors` that are taken to be equally
/// large: a bucket has one of them at least.
pub fn cut_gradients(bytes: f64, num_tensors: u64, first: f64, others: f64) -> Vec<Bucket> {
    let of_tensor = bytes / num_tensors.max(1) as f64;
    let mut left = bytes;
    let mut buckets = Vec::new();
    while left > 0.0 {
        let limit = if buckets.is_empty() { first } else { others }.max(of_tensor);
        // No bucket is of what rounding leaves.
        let size = if left < limit + 0.5 * of_tensor { left } else { limit };
        buckets.push(Bucket { bytes: size });
        left -= size;
    }
    buckets
}

/// Seconds that a step waits for sums after a backward pass of `backward` seconds, in which gradients are complete at an
/// even pace; `compression`: bytes that travel for each byte.
pub fn exposed_seconds(buckets: &[Bucket], backward: f64, compression: f64, cluster: &Cluster) -> f64 {
    let total: f64 = buckets.iter().map(|bucket| bucket.bytes).sum();
    let (mut complete, mut end) = (0.0, 0.0f64);
    for bucket in buckets {
        complete += bucket.bytes;
        let ready = backward * complete / total;
        end = end.max(ready) + ring_seconds(compression * bucket.bytes, cluster);
    }
    (end - backward).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: f64 = 1e9;

    fn cluster(ranks: usize, nodes: usize) -> Cluster {
        Cluster::new(ranks, nodes, 100.0 * GB, 10.0 * GB).unwrap()
    }

    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
    }

    #[test]
    fn ring_sends_all_but_a_share_twice_over_its_slowest_link() {
        assert_close(ring_seconds(GB, &cluster(1, 1)), 0.0);
        assert_close(ring_seconds(GB, &cluster(4, 1)), 2.0 * 0.75 / 100.0 + 6.0 * LATENCY_SECONDS);
        assert_close(ring_seconds(GB, &cluster(4, 2)), 2.0 * 0.75 / 10.0 + 6.0 * LATENCY_SECONDS);
    }

    #[test]
    fn what_the_backward_pass_hides_is_not_waited_for() {
        let two = cluster(2, 1);
        let buckets = cut_gradients(3.0 * GB, 300, GB, GB);
        assert_eq!(buckets.len(), 3);
        let one = ring_seconds(GB, &two);
        // The last leaves when backward ends.
        assert_close(exposed_seconds(&buckets, 100.0 * one, 1.0, &two), one);
        // No time to hide in: all of it.
        assert_close(exposed_seconds(&buckets, 0.0, 1.0, &two), 3.0 * one);
        assert_close(exposed_seconds(&buckets, 0.0, 0.5, &two), 3.0 * ring_seconds(0.5 * GB, &two));
        assert_close(exposed_seconds(&buckets, 0.0, 1.0, &cluster(1, 1)), 0.0);
    }

    #[test]
    fn buckets_of_any_size_have_a_tensor_each_at_least() {
        let count = |first, others| cut_gradients(GB, 7, first, others).len();
        assert_eq!(count(0.0, 0.0), 7);
        assert_eq!(count(1e-18, 1e-18), 7);
        assert_eq!(count(0.0, GB), 2);
        assert_eq!(count(GB, GB), 1);
        let total: f64 = cut_gradients(GB, 7, 0.0, 0.0).iter().map(|bucket| bucket.bytes).sum();
        assert!((total - GB).abs() < 1.0, "{total}");
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let message = |ranks, nodes| Cluster::new(ranks, nodes, GB, GB).unwrap_err().to_string();
        assert_eq!(message(0, 1), "--gpus 0: state 1 or more");
        assert_eq!(message(8, 0), "--nodes 0: state 1 or more");
        assert_eq!(message(8, 3), "--gpus 8 cannot be spread equally over --nodes 3; state a multiple of 3");
    }
}
