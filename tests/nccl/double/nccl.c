// A test double of NCCL: the functions that pdarts calls, on host memory that processes of one machine share.
//
// It proves the sequence of calls, results and errors; it knows no streams, no overlap and no speed. Operations advance
// only while they are asked about (ncclCommGetAsyncError), as non-blocking communicators are.
//
// Environment:
//   NCCL_DOUBLE_LOG=FILE      appends a line for every call: process, function, arguments
//   NCCL_DOUBLE_FAULT=WHAT    a call that goes wrong:
//     no-id           ncclGetUniqueId fails
//     init-fails      joining the ranks fails at once
//     init-hangs      joining the ranks never ends
//     error-after=K   the communicator fails after K operations, while it is asked about the next
//     broken-after=K  the communicator fails after K operations, without being asked to do anything
//   NCCL_DOUBLE_VERSION=N     what ncclGetVersion says
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6, IN_PROGRESS = 7 };
enum { UINT8 = 1, INT64 = 4, FLOAT32 = 7, FLOAT64 = 8, BFLOAT16 = 9 };
enum { SUM = 0, MAX = 2, AVG = 4 };
enum { MAX_RANKS = 16, SLOT_BYTES = 1 << 16 };

typedef struct {
  char internal[128];
} Id;

// What the ranks share. Each part of an operation passes two barriers: all have written, all have read.
typedef struct {
  atomic_int joined;
  atomic_long arrived, departed;
  char slots[MAX_RANKS][SLOT_BYTES];
} Room;

typedef struct {
  const char *send;
  char *receive;
  size_t bytes, position;
  int type, operation, root; // root: -1 for a reduction
  enum { IDLE, WRITE, GATHER, LEAVE } phase;
} Task;

typedef struct {
  Room *room;
  char name[64];
  int rank, size, is_complete;
  long parts, operations;
  int failure;
  Task task;
} Comm;

// By this the program knows that the library works on host memory.
const int pdarts_nccl_test_double = 1;

static char last_error[256] = "";

static void note(const char *format, const char *function, long first, long second, long third) {
  const char *path = getenv("NCCL_DOUBLE_LOG");
  if (!path)
    return;
  char line[256];
  int length = snprintf(line, sizeof line, "%d %s ", (int)getpid(), function);
  length += snprintf(line + length, sizeof line - length, format, first, second, third);
  line[length++] = '\n';
  const int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  // One write is one line, whoever else writes.
  if (file >= 0 && write(file, line, length) < 0)
    perror(path);
  if (file >= 0)
    close(file);
}

static long fault(const char *name) {
  const char *what = getenv("NCCL_DOUBLE_FAULT");
  const size_t length = strlen(name);
  if (!what || strncmp(what, name, length))
    return -1;
  return what[length] == '=' ? atol(what + length + 1) : what[length] ? -1 : 0;
}

static int fail(int code, const char *reason) {
  snprintf(last_error, sizeof last_error, "%s", reason);
  return code;
}

int ncclGetVersion(int *version) {
  const char *stated = getenv("NCCL_DOUBLE_VERSION");
  *version = stated ? atoi(stated) : 22907;
  return SUCCESS;
}

const char *ncclGetErrorString(int result) {
  switch (result) {
  case SUCCESS:
    return "no error";
  case SYSTEM_ERROR:
    return "unhandled system error";
  case REMOTE_ERROR:
    return "remote process exited or there was a network error";
  case IN_PROGRESS:
    return "NCCL operation in progress";
  default:
    return "invalid argument or usage";
  }
}

const char *ncclGetLastError(void *comm) {
  (void)comm;
  return last_error;
}

static Id own_id;

// Of an id that no ranks meet at.
static void forget_id(void) { shm_unlink(own_id.internal); }

int ncclGetUniqueId(Id *id) {
  note("", "ncclGetUniqueId", 0, 0, 0);
  if (fault("no-id") >= 0)
    return fail(SYSTEM_ERROR, "injected: no id");
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  memset(id, 0, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "/pdarts-nccl-double-%d-%ld", (int)getpid(), now.tv_nsec);
  const int file = shm_open(id->internal, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0 || ftruncate(file, sizeof(Room)))
    return fail(SYSTEM_ERROR, strerror(errno));
  close(file);
  own_id = *id;
  atexit(forget_id);
  return SUCCESS;
}

int ncclCommInitRankConfig(Comm **place, int size, Id id, int rank, const void *config) {
  note("rank %ld of %ld", "ncclCommInitRankConfig", rank, size, 0);
  // struct ncclConfig: size_t size; unsigned magic, version; int blocking; ...
  unsigned magic;
  int blocking;
  memcpy(&magic, (const char *)config + sizeof(size_t), sizeof magic);
  memcpy(&blocking, (const char *)config + sizeof(size_t) + 2 * sizeof magic, sizeof blocking);
  if (magic != 0xcafebeef || blocking || size > MAX_RANKS || rank < 0 || rank >= size)
    return fail(INVALID_ARGUMENT, "not a non-blocking communicator of at most 16 ranks");
  if (fault("init-fails") >= 0) {
    shm_unlink(id.internal);
    return fail(SYSTEM_ERROR, "injected: init fails");
  }
  const int file = shm_open(id.internal, O_RDWR, 0600);
  if (file < 0)
    return fail(SYSTEM_ERROR, "no such id");
  Room *room = mmap(NULL, sizeof *room, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (room == MAP_FAILED)
    return fail(SYSTEM_ERROR, strerror(errno));
  Comm *comm = calloc(1, sizeof *comm);
  comm->room = room;
  comm->rank = rank;
  comm->size = size;
  snprintf(comm->name, sizeof comm->name, "%.63s", id.internal);
  if (fault("init-hangs") < 0)
    atomic_fetch_add(&room->joined, 1);
  *place = comm;
  return IN_PROGRESS;
}

static double load(const char *from, int type, size_t index) {
  uint32_t bits;
  float single;
  switch (type) {
  case FLOAT32:
    return ((const float *)from)[index];
  case BFLOAT16:
    bits = (uint32_t)((const uint16_t *)from)[index] << 16;
    memcpy(&single, &bits, sizeof single);
    return single;
  default:
    return ((const double *)from)[index];
  }
}

static void store(char *to, int type, size_t index, double value) {
  const float single = value;
  uint32_t bits;
  switch (type) {
  case FLOAT32:
    ((float *)to)[index] = single;
    break;
  case BFLOAT16:
    memcpy(&bits, &single, sizeof bits);
    ((uint16_t *)to)[index] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    break;
  default:
    ((double *)to)[index] = value;
  }
}

static size_t bytes_of(int type) { return type == UINT8 ? 1 : type == BFLOAT16 ? 2 : type == FLOAT32 ? 4 : 8; }

static void reduce(const Comm *comm, char *to, size_t count) {
  const Task *task = &comm->task;
  for (size_t index = 0; index < count; ++index) {
    if (task->type == INT64) {
      int64_t total = ((const int64_t *)comm->room->slots[0])[index];
      for (int rank = 1; rank < comm->size; ++rank) {
        const int64_t value = ((const int64_t *)comm->room->slots[rank])[index];
        total = task->operation == MAX ? (value > total ? value : total) : total + value;
      }
      ((int64_t *)to)[index] = task->operation == AVG ? total / comm->size : total;
    } else {
      double total = load(comm->room->slots[0], task->type, index);
      for (int rank = 1; rank < comm->size; ++rank) {
        const double value = load(comm->room->slots[rank], task->type, index);
        total = task->operation == MAX ? (value > total ? value : total) : total + value;
      }
      store(to, task->type, index, task->operation == AVG ? total / comm->size : total);
    }
  }
}

// Does what can be done without waiting.
static void advance(Comm *comm) {
  Task *task = &comm->task;
  for (;;) {
    const size_t rest = task->bytes - task->position, bytes = rest < SLOT_BYTES ? rest : SLOT_BYTES;
    switch (task->phase) {
    case IDLE:
      return;
    case WRITE:
      memcpy(comm->room->slots[comm->rank], task->send + task->position, bytes);
      ++comm->parts;
      atomic_fetch_add(&comm->room->arrived, 1);
      task->phase = GATHER;
      break;
    case GATHER:
      if (atomic_load(&comm->room->arrived) < comm->parts * comm->size)
        return;
      if (task->root >= 0)
        memcpy(task->receive + task->position, comm->room->slots[task->root], bytes);
      else
        reduce(comm, task->receive + task->position, bytes / bytes_of(task->type));
      atomic_fetch_add(&comm->room->departed, 1);
      task->phase = LEAVE;
      break;
    case LEAVE:
      if (atomic_load(&comm->room->departed) < comm->parts * comm->size)
        return;
      task->position += bytes;
      task->phase = task->position < task->bytes ? WRITE : IDLE;
      break;
    }
  }
}

int ncclCommGetAsyncError(Comm *comm, int *state) {
  if (!comm->is_complete) {
    comm->is_complete = atomic_load(&comm->room->joined) == comm->size;
    *state = comm->is_complete ? SUCCESS : IN_PROGRESS;
    // Whoever sees all ranks removes the name, which is needed no more.
    if (comm->is_complete)
      shm_unlink(comm->name);
    return SUCCESS;
  }
  if (!comm->failure && fault("broken-after") >= 0 && comm->operations >= fault("broken-after"))
    comm->failure = fail(REMOTE_ERROR, "injected: network failure");
  if (!comm->failure)
    advance(comm);
  *state = comm->failure ? comm->failure : comm->task.phase == IDLE ? SUCCESS : IN_PROGRESS;
  return SUCCESS;
}

static int begin(Comm *comm, Task task) {
  if (comm->failure || comm->task.phase != IDLE)
    return fail(INVALID_USAGE, "the communicator has failed or is busy");
  ++comm->operations;
  if (fault("error-after") >= 0 && comm->operations > fault("error-after"))
    comm->failure = fail(REMOTE_ERROR, "injected: connection closed by remote peer");
  comm->task = task;
  comm->task.phase = task.bytes ? WRITE : IDLE;
  return IN_PROGRESS;
}

int ncclAllReduce(const void *send, void *receive, size_t count, int type, int operation, Comm *comm, void *stream) {
  (void)stream;
  note("count %ld type %ld op %ld", "ncclAllReduce", count, type, operation);
  return begin(comm, (Task){send, receive, count * bytes_of(type), 0, type, operation, -1, IDLE});
}

int ncclBroadcast(const void *send, void *receive, size_t count, int type, int root, Comm *comm, void *stream) {
  (void)stream;
  note("count %ld type %ld root %ld", "ncclBroadcast", count, type, root);
  return begin(comm, (Task){send, receive, count * bytes_of(type), 0, type, SUM, root, IDLE});
}

static void release(Comm *comm) {
  munmap(comm->room, sizeof *comm->room);
  free(comm);
}

int ncclCommAbort(Comm *comm) {
  note("", "ncclCommAbort", 0, 0, 0);
  shm_unlink(comm->name);
  release(comm);
  return SUCCESS;
}

int ncclCommFinalize(Comm *comm) {
  (void)comm;
  note("", "ncclCommFinalize", 0, 0, 0);
  return SUCCESS;
}

int ncclCommDestroy(Comm *comm) {
  note("", "ncclCommDestroy", 0, 0, 0);
  release(comm);
  return SUCCESS;
}
