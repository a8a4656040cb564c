//! What becomes of a run whose files cannot be written: a full disk, a quota, a folder that is gone.

use crate::run::RunError;

/// How much of what a run writes may be lost before it stops.
pub(super) struct Tolerance {
    /// Checkpoints in a row; 0: nothing at all.
    limit: usize,
    failed: usize,
    loses_records: bool,
}

impl Tolerance {
    /// Of `run.max_failed_checkpoints`.
    pub fn new(limit: usize) -> Self {
        Self { limit, failed: 0, loses_records: false }
    }

    /// Whether the run goes on after this `outcome` of a checkpoint.
    ///
    /// # Errors
    /// That of `outcome`, when there were too many in a row.
    pub fn checkpoint(&mut self, outcome: Result<(), RunError>) -> Result<(), RunError> {
        let Err(error) = outcome else {
            (self.failed, self.loses_records) = (0, false);
            return Ok(());
        };
        self.failed += 1;
        if self.failed > self.limit {
            return Err(error);
        }
        tracing::warn!(
            "{error}; the run goes on without this checkpoint (number {} in a row of the {} that \
             run.max_failed_checkpoints allows)",
            self.failed,
            self.limit
        );
        Ok(())
    }

    /// Whether the run goes on after this `outcome` of a record of its course.
    ///
    /// # Errors
    /// That of `outcome`, when nothing may be lost.
    pub fn record(&mut self, outcome: Result<(), RunError>) -> Result<(), RunError> {
        match outcome {
            Err(error) if self.limit > 0 => {
                // Once, not at every step, until a checkpoint can be written again.
                if !self.loses_records {
                    tracing::warn!("{error}; the run goes on, and what it records meanwhile is lost");
                }
                self.loses_records = true;
                Ok(())
            }
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    fn full() -> Result<(), RunError> {
        Err(RunError::Write { path: PathBuf::from("x"), cause: io::Error::from(io::ErrorKind::StorageFull) })
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let mut tolerance = Tolerance::new(2);
        for outcome in [full(), full(), Ok(()), full(), full()] {
            tolerance.checkpoint(outcome).unwrap();
        }
        tolerance.record(full()).unwrap();
        tolerance.checkpoint(full()).unwrap_err();
    }

    #[test]
    fn nothing_is_lost_where_nothing_may_be() {
        let mut tolerance = Tolerance::new(0);
        tolerance.record(full()).unwrap_err();
        tolerance.checkpoint(full()).unwrap_err();
    }
}
