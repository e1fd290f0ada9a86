/* Stands in for CUDA's driver behind pycuda: device memory is host memory, and every copy is done when
 * it is asked for. Like the real one it refuses a thread in which no context is current.
 * Functions that pycuda links against and that are not here are made by prepare.py and refuse.
 *
 * STAND_IN_GPU names the device; without it there is none. STAND_IN_MULTIPROCESSORS is how many it has. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long Device; /* an address on the device */
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NOT_SUPPORTED = 801 };
enum { DEPTH = 64, ALIGNMENT = 512, MULTIPROCESSOR_COUNT = 16 /* the attribute */ };

static _Thread_local void *stack[DEPTH];
static _Thread_local int depth;
static char primary;
static atomic_long allocations, streams, retained;

#define NEEDS_CONTEXT if (!depth) return INVALID_CONTEXT

/* Allocations, streams and retained contexts that nobody has released yet. */
long stand_in_cuda_live(void) { return allocations + streams + retained; }

int cuInit(unsigned flags) {
    (void)flags;
    const char *gpu = getenv("STAND_IN_GPU");
    return gpu && *gpu ? OK : NO_DEVICE;
}
int cuDriverGetVersion(int *version) { *version = 12060; return OK; }
int cuGetErrorString(int error, const char **text) {
    *text = error == INVALID_CONTEXT ? "invalid device context"
          : error == OUT_OF_MEMORY   ? "out of memory"
          : error == NO_DEVICE       ? "no CUDA-capable device is detected"
          : error == NOT_SUPPORTED   ? "operation not supported"
                                     : "an error of the stand-in";
    return OK;
}

int cuDeviceGetCount(int *count) { *count = 1; return OK; }
int cuDeviceGet(int *device, int index) { *device = index; return index ? INVALID_DEVICE : OK; }
int cuDeviceGetName(char *name, int size, int device) { (void)device; snprintf(name, size, "%s", getenv("STAND_IN_GPU")); return OK; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { (void)device; *major = 8; *minor = 7; return OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = (size_t)8 << 30; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    const char *count = attribute == MULTIPROCESSOR_COUNT ? getenv("STAND_IN_MULTIPROCESSORS") : NULL;
    (void)device;
    *value = count ? atoi(count) : 1;
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = &primary; retained++; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; retained--; return OK; }

int cuCtxPushCurrent_v2(void *context) { if (depth == DEPTH) return INVALID_VALUE; stack[depth++] = context; return OK; }
int cuCtxPopCurrent_v2(void **context) { NEEDS_CONTEXT; depth--; if (context) *context = stack[depth]; return OK; }
int cuCtxGetDevice(int *device) { NEEDS_CONTEXT; *device = 0; return OK; }
int cuCtxSynchronize(void) { NEEDS_CONTEXT; return OK; }
int cuCtxGetApiVersion(void *context, unsigned *version) { (void)context; *version = 12060; return OK; }

static void *allocate(size_t size) {
    const char *limit = getenv("STAND_IN_MEMORY_BYTES"); /* of one allocation */
    void *memory = NULL;
    if (limit && size > strtoull(limit, NULL, 10)) return NULL;
    if (posix_memalign(&memory, ALIGNMENT, size ? size : 1)) return NULL;
    memset(memory, 0xAB, size); /* nobody may count on zeros */
    allocations++;
    return memory;
}
static int release(void *memory) { NEEDS_CONTEXT; free(memory); allocations--; return OK; }
static void *at(Device address) { return (void *)(uintptr_t)address; }
static int copy(void *to, const void *from, size_t size) { NEEDS_CONTEXT; memcpy(to, from, size); return OK; }

int cuMemAlloc_v2(Device *address, size_t size) { NEEDS_CONTEXT; *address = (Device)(uintptr_t)allocate(size); return *address ? OK : OUT_OF_MEMORY; }
int cuMemFree_v2(Device address) { return release(at(address)); }
int cuMemHostAlloc(void **memory, size_t size, unsigned flags) { NEEDS_CONTEXT; (void)flags; *memory = allocate(size); return *memory ? OK : OUT_OF_MEMORY; }
int cuMemFreeHost(void *memory) { return release(memory); }
int cuMemGetInfo_v2(size_t *available, size_t *total) { NEEDS_CONTEXT; *available = (size_t)4 << 30; *total = (size_t)8 << 30; return OK; }
int cuMemcpyHtoD_v2(Device to, const void *from, size_t size) { return copy(at(to), from, size); }
int cuMemcpyDtoH_v2(void *to, Device from, size_t size) { return copy(to, at(from), size); }
int cuMemcpyHtoDAsync_v2(Device to, const void *from, size_t size, void *stream) { (void)stream; return copy(at(to), from, size); }
int cuMemcpyDtoHAsync_v2(void *to, Device from, size_t size, void *stream) { (void)stream; return copy(to, at(from), size); }

int cuStreamCreate(void **stream, unsigned flags) { NEEDS_CONTEXT; (void)flags; *stream = malloc(16); streams++; return OK; }
int cuStreamDestroy_v2(void *stream) { NEEDS_CONTEXT; free(stream); streams--; return OK; }
int cuStreamSynchronize(void *stream) { NEEDS_CONTEXT; (void)stream; return OK; }
int cuStreamQuery(void *stream) { (void)stream; return OK; }
