/* What MPI's headers say in macros, as symbols; and the layouts that the declarations in Rust rely on. */
#include <mpi.h>
#include <stddef.h>

const MPI_Datatype RSMPI_C_BOOL = MPI_C_BOOL;
const MPI_Datatype RSMPI_FLOAT = MPI_FLOAT;
const MPI_Datatype RSMPI_DOUBLE = MPI_DOUBLE;
const MPI_Datatype RSMPI_INT8_T = MPI_INT8_T;
const MPI_Datatype RSMPI_INT16_T = MPI_INT16_T;
const MPI_Datatype RSMPI_INT32_T = MPI_INT32_T;
const MPI_Datatype RSMPI_INT64_T = MPI_INT64_T;
const MPI_Datatype RSMPI_UINT8_T = MPI_UINT8_T;
const MPI_Datatype RSMPI_UINT16_T = MPI_UINT16_T;
const MPI_Datatype RSMPI_UINT32_T = MPI_UINT32_T;
const MPI_Datatype RSMPI_UINT64_T = MPI_UINT64_T;
const MPI_Datatype RSMPI_FLOAT_COMPLEX = MPI_C_FLOAT_COMPLEX;
const MPI_Datatype RSMPI_DOUBLE_COMPLEX = MPI_C_DOUBLE_COMPLEX;
const MPI_Datatype RSMPI_DATATYPE_NULL = MPI_DATATYPE_NULL;
const MPI_Comm RSMPI_COMM_WORLD = MPI_COMM_WORLD;
const MPI_Comm RSMPI_COMM_NULL = MPI_COMM_NULL;
const MPI_Comm RSMPI_COMM_SELF = MPI_COMM_SELF;
const int RSMPI_COMM_TYPE_SHARED = MPI_COMM_TYPE_SHARED;
const MPI_Group RSMPI_GROUP_EMPTY = MPI_GROUP_EMPTY;
const MPI_Group RSMPI_GROUP_NULL = MPI_GROUP_NULL;
const int RSMPI_UNDEFINED = MPI_UNDEFINED;
const int RSMPI_PROC_NULL = MPI_PROC_NULL;
const int RSMPI_ANY_SOURCE = MPI_ANY_SOURCE;
const int RSMPI_ANY_TAG = MPI_ANY_TAG;
const MPI_Message RSMPI_MESSAGE_NULL = MPI_MESSAGE_NULL;
const MPI_Message RSMPI_MESSAGE_NO_PROC = MPI_MESSAGE_NO_PROC;
const MPI_Request RSMPI_REQUEST_NULL = MPI_REQUEST_NULL;
MPI_Status *const RSMPI_STATUS_IGNORE = MPI_STATUS_IGNORE;
const int RSMPI_IDENT = MPI_IDENT;
const int RSMPI_CONGRUENT = MPI_CONGRUENT;
const int RSMPI_SIMILAR = MPI_SIMILAR;
const int RSMPI_UNEQUAL = MPI_UNEQUAL;
const int RSMPI_THREAD_SINGLE = MPI_THREAD_SINGLE;
const int RSMPI_THREAD_FUNNELED = MPI_THREAD_FUNNELED;
const int RSMPI_THREAD_SERIALIZED = MPI_THREAD_SERIALIZED;
const int RSMPI_THREAD_MULTIPLE = MPI_THREAD_MULTIPLE;
const int RSMPI_GRAPH = MPI_GRAPH;
const int RSMPI_CART = MPI_CART;
const int RSMPI_DIST_GRAPH = MPI_DIST_GRAPH;
const int RSMPI_MAX_LIBRARY_VERSION_STRING = MPI_MAX_LIBRARY_VERSION_STRING;
const int RSMPI_MAX_PROCESSOR_NAME = MPI_MAX_PROCESSOR_NAME;
const MPI_Op RSMPI_MAX = MPI_MAX;
const MPI_Op RSMPI_MIN = MPI_MIN;
const MPI_Op RSMPI_SUM = MPI_SUM;
const MPI_Op RSMPI_PROD = MPI_PROD;
const MPI_Op RSMPI_LAND = MPI_LAND;
const MPI_Op RSMPI_BAND = MPI_BAND;
const MPI_Op RSMPI_LOR = MPI_LOR;
const MPI_Op RSMPI_BOR = MPI_BOR;
const MPI_Op RSMPI_LXOR = MPI_LXOR;
const MPI_Op RSMPI_BXOR = MPI_BXOR;
const MPI_Errhandler RSMPI_ERRORS_RETURN = MPI_ERRORS_RETURN;
const MPI_Info RSMPI_INFO_NULL = MPI_INFO_NULL;

/* For the program's own calls; rsmpi does not know it. */
const void *const RSMPI_IN_PLACE = MPI_IN_PLACE;

double RSMPI_Wtime(void) { return MPI_Wtime(); }
double RSMPI_Wtick(void) { return MPI_Wtick(); }

#define SAME(condition) _Static_assert(condition, "this MPI library differs from what mpi-sys declares for its family")

#if defined(OPEN_MPI)
#define HANDLE void *
SAME(MPI_MAX_OBJECT_NAME == 64 && MPI_APPNUM == 4 && MPI_UNIVERSE_SIZE == 6);
SAME(offsetof(MPI_Status, MPI_SOURCE) == 0 && sizeof(MPI_Status) == 4 * sizeof(int) + sizeof(size_t));
#else
#define HANDLE int
SAME(MPI_MAX_OBJECT_NAME == 128 && MPI_APPNUM == 0x6440000d && MPI_UNIVERSE_SIZE == 0x64400009);
SAME(offsetof(MPI_Status, MPI_SOURCE) == 2 * sizeof(int) && sizeof(MPI_Status) == 5 * sizeof(int));
#endif
SAME(sizeof(MPI_Comm) == sizeof(HANDLE) && sizeof(MPI_Datatype) == sizeof(HANDLE));
SAME(sizeof(MPI_Errhandler) == sizeof(HANDLE) && sizeof(MPI_Group) == sizeof(HANDLE));
SAME(sizeof(MPI_Info) == sizeof(HANDLE) && sizeof(MPI_Message) == sizeof(HANDLE));
SAME(sizeof(MPI_Op) == sizeof(HANDLE) && sizeof(MPI_Request) == sizeof(HANDLE));
SAME(offsetof(MPI_Status, MPI_TAG) == offsetof(MPI_Status, MPI_SOURCE) + sizeof(int));
SAME(offsetof(MPI_Status, MPI_ERROR) == offsetof(MPI_Status, MPI_SOURCE) + 2 * sizeof(int));
SAME(sizeof(MPI_Aint) == sizeof(void *) && MPI_SUCCESS == 0 && MPI_UNDEFINED == -32766);
