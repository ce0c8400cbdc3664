/* A pretend NVML for tests: GPUs that draw min(limit, max(idle, demand)).
 *
 * The state is a file, shared by all processes that map it (FAKE_NVML_STATE), so that limits
 * and energy counters outlive the process that changed them, as in a driver. Its layout is
 * mirrored in __init__.py. Only what zeus 0.16 and pynvml call to meter and to limit power. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, NO_DRIVER = 9 };
enum { POWER_AVERAGE = 185, POWER_INSTANT = 186, VOLTA = 5, MAX_GPUS = 8, MAX_FAILURES = 8 };

typedef struct {
    char name[64];
    int64_t architecture, temperature_c, persistence, process; /* process: pid that computes, or 0 */
    int64_t min_mw, max_mw, default_mw, limit_mw;
    int64_t idle_mw, demand_mw;
    int64_t period_ns; /* the counter moves once a period; 0: always */
    int64_t since_ns;
    double counter_mj; /* at since_ns */
} gpu_t;

typedef struct {
    int64_t gpus, virtual_clock, now_ns;
    struct { char call[56]; int64_t code; } failures[MAX_FAILURES];
    gpu_t gpu[MAX_GPUS];
} state_t;

typedef struct { uint32_t pid; unsigned long long memory; uint32_t gi, ci; } process_t;
typedef struct { uint32_t version, sensor; int32_t celsius; } temperature_t;
typedef struct {
    uint32_t id, scope;
    int64_t timestamp, latency;
    uint32_t type, code;
    union { uint32_t u; uint64_t ull; double d; } value;
} field_t;

static state_t *state;
static int users;

static int attach(void) {
    if (state) return OK;
    const char *path = getenv("FAKE_NVML_STATE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return NO_DRIVER;
    void *map = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) return NO_DRIVER;
    state = map;
    return OK;
}

/* A lock of the file, which a killed process leaves open. */
static int lock(void) {
    int file = open(getenv("FAKE_NVML_STATE"), O_RDWR | O_CLOEXEC);
    flock(file, LOCK_EX);
    return file;
}

static int64_t now(void) {
    if (state->virtual_clock) return state->now_ns;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static double power_mw(const gpu_t *g) {
    int64_t wanted = g->demand_mw > g->idle_mw ? g->demand_mw : g->idle_mw;
    return wanted > g->limit_mw ? g->limit_mw : wanted;
}

static double counter_mj(const gpu_t *g, int64_t at) {
    return at > g->since_ns ? g->counter_mj + power_mw(g) * (at - g->since_ns) / 1e9 : g->counter_mj;
}

static void change(gpu_t *g, int64_t *what, int64_t to) {
    int file = lock();
    int64_t at = now();
    g->counter_mj = counter_mj(g, at);
    g->since_ns = at;
    *what = to;
    close(file);
}

static int failure(const char *call) {
    for (int i = 0; i < MAX_FAILURES; i++)
        if (!strcmp(state->failures[i].call, call)) return (int)state->failures[i].code;
    return OK;
}

typedef struct handle *gpu_h; /* a GPU's index + 1 */

static int enter(const char *call) { return users ? failure(call) : UNINITIALIZED; }
static int enter_gpu(const char *call, gpu_h h, gpu_t **g) {
    intptr_t i = (intptr_t)h - 1;
    int code = enter(call);
    if (code) return code;
    if (i < 0 || i >= state->gpus) return INVALID;
    *g = &state->gpu[i];
    return OK;
}

#define ENTER() \
    int code_ = enter(__func__); \
    if (code_) return code_
#define ENTER_GPU() \
    gpu_t *g; \
    int code_ = enter_gpu(__func__, h, &g); \
    if (code_) return code_

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = attach();
    if (!code) code = failure(__func__);
    if (!code) users++;
    return code;
}
int nvmlShutdown(void) { ENTER(); users--; return OK; }
const char *nvmlErrorString(int code) {
    static char text[32];
    snprintf(text, sizeof text, "fake NVML error %d", code);
    return text;
}
int nvmlDeviceGetCount_v2(unsigned *n) { ENTER(); *n = (unsigned)state->gpus; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, gpu_h *h) {
    ENTER();
    if (i >= state->gpus) return INVALID;
    *h = (gpu_h)(intptr_t)(i + 1);
    return OK;
}

int nvmlDeviceGetName(gpu_h h, char *to, unsigned n) { ENTER_GPU(); snprintf(to, n, "%s", g->name); return OK; }
int nvmlDeviceGetUUID(gpu_h h, char *to, unsigned n) { ENTER_GPU(); snprintf(to, n, "GPU-fake-%d", (int)(g - state->gpu)); return OK; }
int nvmlDeviceGetArchitecture(gpu_h h, unsigned *to) { ENTER_GPU(); *to = (unsigned)g->architecture; return OK; }
int nvmlDeviceGetC2cModeInfoV(gpu_h h, void *to) { (void)to; ENTER_GPU(); return NOT_SUPPORTED; }
int nvmlDeviceGetTemperatureV(gpu_h h, temperature_t *to) { ENTER_GPU(); to->celsius = (int)g->temperature_c; return OK; }

int nvmlDeviceGetTotalEnergyConsumption(gpu_h h, unsigned long long *mj) {
    ENTER_GPU();
    if (g->architecture < VOLTA) return NOT_SUPPORTED;
    int file = lock();
    int64_t at = now();
    *mj = (unsigned long long)counter_mj(g, g->period_ns ? at - at % g->period_ns : at);
    close(file);
    return OK;
}
int nvmlDeviceGetFieldValues(gpu_h h, int n, field_t *fields) {
    ENTER_GPU();
    for (field_t *f = fields; f < fields + n; f++) {
        f->code = f->id == POWER_AVERAGE || f->id == POWER_INSTANT ? OK : NOT_SUPPORTED;
        f->value.u = (uint32_t)power_mw(g);
    }
    return OK;
}
int nvmlDeviceGetPowerUsage(gpu_h h, unsigned *mw) { ENTER_GPU(); *mw = (unsigned)power_mw(g); return OK; }

int nvmlDeviceGetPowerManagementLimitConstraints(gpu_h h, unsigned *min, unsigned *max) {
    ENTER_GPU();
    *min = (unsigned)g->min_mw;
    *max = (unsigned)g->max_mw;
    return OK;
}
int nvmlDeviceGetPowerManagementLimit(gpu_h h, unsigned *mw) { ENTER_GPU(); *mw = (unsigned)g->limit_mw; return OK; }
int nvmlDeviceGetPowerManagementDefaultLimit(gpu_h h, unsigned *mw) { ENTER_GPU(); *mw = (unsigned)g->default_mw; return OK; }
int nvmlDeviceSetPowerManagementLimit(gpu_h h, unsigned mw) {
    ENTER_GPU();
    if (mw < g->min_mw || mw > g->max_mw) return INVALID;
    change(g, &g->limit_mw, mw);
    return OK;
}
int nvmlDeviceGetPersistenceMode(gpu_h h, unsigned *to) { ENTER_GPU(); *to = (unsigned)g->persistence; return OK; }
int nvmlDeviceSetPersistenceMode(gpu_h h, unsigned on) { ENTER_GPU(); g->persistence = on; return OK; }

int nvmlDeviceGetComputeRunningProcesses_v3(gpu_h h, unsigned *n, process_t *to) {
    ENTER_GPU();
    unsigned room = *n;
    *n = g->process ? 1 : 0;
    if (room < *n) return INSUFFICIENT_SIZE;
    if (*n) *to = (process_t){(uint32_t)g->process, 1 << 20, ~0u, ~0u};
    return OK;
}

/* For the tests: the load of a GPU, from now on. */
int fake_set_demand(unsigned i, unsigned mw) {
    if (attach()) return NO_DRIVER;
    change(&state->gpu[i], &state->gpu[i].demand_mw, mw);
    return OK;
}
size_t fake_state_size(void) { return sizeof(state_t); }
