/* Preprocessed and never compiled: its last line says which family the MPI library is of. */
#include <mpi.h>

#if defined(OPEN_MPI)
FAMILY "Open MPI"
#elif defined(MPICH_VERSION) || defined(MPICH_NAME) || defined(I_MPI_VERSION) || defined(MVAPICH2_VERSION)
FAMILY "MPICH"
#endif
