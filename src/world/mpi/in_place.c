// What MPI defines as a macro that bindings cannot see.
#include <mpi.h>

const void *pdarts_mpi_in_place(void) { return MPI_IN_PLACE; }
