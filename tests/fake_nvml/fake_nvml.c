/* A pretend NVML for tests: GPUs that draw min(limit, max(idle, demand)).
 *
 * The state is a file, shared by all processes that map it (FAKE_NVML_STATE), so that limits
 * and energy counters outlive the process that changed them, as in a driver. Its layout is
 * mirrored in __init__.py. Only what zeus 0.16 and pynvml call to meter and to limit power. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, NO_DRIVER = 9, VERSION_MISMATCH = 25
};
enum { POWER_AVERAGE = 185, POWER_INSTANT = 186, UNSIGNED = 1, VOLTA = 5, CLOCK_MEM = 2, CLOCKS = 4 };
enum { MAX_GPUS = 8, MAX_PROCESSES = 8, MAX_FAILURES = 16, MAX_CHANGES = 512 };
enum { LIMIT, PERSISTENCE };
#define MIN_SPEED 0.05
#define VERSION(type, n) (sizeof(type) | (n) << 24)

typedef struct {
    char name[64];
    int64_t architecture, temperature_c, persistence; /* temperature: at idle */
    int64_t processes[MAX_PROCESSES];                 /* pids that compute; 0 is none */
    int64_t mig, virtualization;                      /* mig: -1 is a GPU that cannot */
    int64_t clock_mhz, memory_clock_mhz, memory_mib;
    int64_t min_mw, max_mw, default_mw, limit_mw;
    int64_t idle_mw, demand_mw, static_mw;
    int64_t period_ns; /* the counter moves once a period; 0: always */
    int64_t since_ns;
    double counter_mj, ticked_mj; /* at since_ns; at the last period that ended by then */
    double heat_c;                /* at since_ns: degrees above temperature_c */
    double warming_c_per_w, warming_s; /* 0 s: always at temperature_c */
    int64_t throttle; /* NVML's bits: why the clocks are low */
    int64_t told_mw;  /* the limit that was asked for, if limit_mw is another's; 0: limit_mw */
} gpu_t;

typedef struct {
    char call[56]; /* "*": any */
    int64_t code, gpu; /* gpu: -1 is any */
    int64_t after, until; /* which of the calls it sees fail */
    _Atomic int64_t seen;
} failure_t;

typedef struct { int64_t gpu, what, value, pid; } change_t;

typedef struct {
    int64_t gpus, virtual_clock, now_ns, unprivileged;
    failure_t failures[MAX_FAILURES];
    int64_t changed; /* how often; the last of them are in the ring */
    change_t changes[MAX_CHANGES];
    gpu_t gpu[MAX_GPUS];
} state_t;

typedef struct { uint32_t pid; unsigned long long memory; uint32_t gi, ci; } process_t;
typedef struct { uint32_t version, sensor; int32_t celsius; } temperature_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { uint32_t version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct {
    uint32_t id, scope;
    int64_t timestamp_us, latency_us;
    uint32_t type, code;
    union { uint32_t u; uint64_t ull; double d; } value;
} field_t;

static state_t *state;
static char path[PATH_MAX];
static _Atomic int users;

static int attach(void) {
    if (state) return OK;
    const char *named = getenv("FAKE_NVML_STATE");
    int file = named ? open(named, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return NO_DRIVER;
    void *map = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) return NO_DRIVER;
    snprintf(path, sizeof path, "%s", named);
    state = map;
    return OK;
}

/* A lock of the file, which a killed process leaves open. Opened anew: threads, too, exclude
 * each other, and a forked process has its own. */
static int lock(void) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    while (flock(file, LOCK_EX)) {
        if (errno == EINTR) continue;
        perror(path);
        abort();
    }
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

/* Dynamic power goes with the cube of the clock. */
static double speed(const gpu_t *g) {
    double power = power_mw(g);
    if (power >= g->demand_mw) return 1;
    return fmax(MIN_SPEED, cbrt((power - g->static_mw) / (g->demand_mw - g->static_mw)));
}

static double counter_mj(const gpu_t *g, int64_t at) {
    return g->counter_mj + power_mw(g) * (at - g->since_ns) / 1e9;
}

static double ticked_mj(const gpu_t *g, int64_t at) {
    int64_t tick = g->period_ns ? at - at % g->period_ns : at;
    return tick > g->since_ns ? counter_mj(g, tick) : g->period_ns ? g->ticked_mj : g->counter_mj;
}

static double heat_c(const gpu_t *g, int64_t at) {
    if (g->warming_s <= 0) return 0;
    double end = g->warming_c_per_w * (power_mw(g) - g->idle_mw) / 1000;
    return end + (g->heat_c - end) * exp(-(at - g->since_ns) / 1e9 / g->warming_s);
}

/* Close the books before what they depend on changes. */
static void settle(gpu_t *g) {
    int64_t at = now();
    double ticked = ticked_mj(g, at), counter = counter_mj(g, at), heat = heat_c(g, at);
    g->ticked_mj = ticked;
    g->counter_mj = counter;
    g->heat_c = heat;
    g->since_ns = at;
}

static int set(gpu_t *g, int what, int64_t value) {
    int file = lock();
    settle(g);
    *(what == LIMIT ? &g->limit_mw : &g->persistence) = value;
    state->changes[state->changed % MAX_CHANGES] = (change_t){g - state->gpu, what, value, getpid()};
    state->changed++;
    close(file);
    return OK;
}

static int unprivileged(void) {
    const char *alone = getenv("FAKE_NVML_UNPRIVILEGED");
    return state->unprivileged || (alone && *alone);
}

static int failure(const char *call, int64_t gpu) {
    for (failure_t *f = state->failures; f < state->failures + MAX_FAILURES; f++) {
        if (strcmp(f->call, call) && strcmp(f->call, "*")) continue;
        if (f->gpu >= 0 && f->gpu != gpu) continue;
        int64_t seen = atomic_fetch_add(&f->seen, 1);
        if (seen >= f->after && seen < f->until) return (int)f->code;
    }
    return OK;
}

typedef struct handle *gpu_h; /* a GPU's index + 1 */

static int enter(const char *call) { return users ? failure(call, -1) : UNINITIALIZED; }
static int enter_gpu(const char *call, gpu_h h, gpu_t **g) {
    intptr_t i = (intptr_t)h - 1;
    if (!users) return UNINITIALIZED;
    if (i < 0 || i >= state->gpus) return INVALID;
    *g = &state->gpu[i];
    return failure(call, i);
}

#define ENTER() \
    int code_ = enter(__func__); \
    if (code_) return code_
#define ENTER_GPU() \
    gpu_t *g; \
    int code_ = enter_gpu(__func__, h, &g); \
    if (code_) return code_
#define GET(call, type, value) int call(gpu_h h, type *to) { ENTER_GPU(); *to = (type)(value); return OK; }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = attach();
    if (!code) code = failure(__func__, -1);
    if (!code) users++;
    return code;
}
int nvmlShutdown(void) { ENTER(); users--; return OK; }
const char *nvmlErrorString(int code) {
    static _Thread_local char text[32];
    snprintf(text, sizeof text, "fake NVML error %d", code);
    return text;
}
static int text(char *to, unsigned n, const char *from) {
    return snprintf(to, n, "%s", from) < (int)n ? OK : INSUFFICIENT_SIZE;
}
int nvmlSystemGetDriverVersion(char *to, unsigned n) { ENTER(); return text(to, n, "580.00.fake"); }
int nvmlSystemGetNVMLVersion(char *to, unsigned n) { ENTER(); return text(to, n, "13.580.00.fake"); }
int nvmlSystemGetProcessName(unsigned pid, char *to, unsigned n) {
    ENTER();
    char arguments[1024] = "", of[32];
    snprintf(of, sizeof of, "/proc/%u/cmdline", pid);
    int file = open(of, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NOT_FOUND;
    ssize_t got = read(file, arguments, sizeof arguments - 1);
    close(file);
    return got > 0 ? text(to, n, arguments) : NOT_FOUND;
}

static void uuid(char to[64], int64_t i) { snprintf(to, 64, "GPU-fa4e0000-0000-4000-8000-%012x", (unsigned)i); }

int nvmlDeviceGetCount_v2(unsigned *n) { ENTER(); *n = (unsigned)state->gpus; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, gpu_h *h) {
    *h = (gpu_h)(intptr_t)(i + 1);
    gpu_t *g;
    return enter_gpu(__func__, *h, &g);
}
int nvmlDeviceGetHandleByUUID(const char *of, gpu_h *h) {
    ENTER();
    for (int64_t i = 0; i < state->gpus; i++) {
        char name[64];
        uuid(name, i);
        *h = (gpu_h)(i + 1);
        if (!strcmp(name, of)) return OK;
    }
    return NOT_FOUND;
}

GET(nvmlDeviceGetIndex, unsigned, g - state->gpu)
int nvmlDeviceGetName(gpu_h h, char *to, unsigned n) { ENTER_GPU(); return text(to, n, g->name); }
int nvmlDeviceGetUUID(gpu_h h, char *to, unsigned n) {
    ENTER_GPU();
    char name[64];
    uuid(name, g - state->gpu);
    return text(to, n, name);
}
GET(nvmlDeviceGetArchitecture, unsigned, g->architecture)
GET(nvmlDeviceGetVirtualizationMode, unsigned, g->virtualization)
int nvmlDeviceGetMigMode(gpu_h h, unsigned *now_, unsigned *next) {
    ENTER_GPU();
    if (g->mig < 0) return NOT_SUPPORTED;
    *now_ = *next = (unsigned)g->mig;
    return OK;
}
int nvmlDeviceGetC2cModeInfoV(gpu_h h, void *to) { (void)to; ENTER_GPU(); return NOT_SUPPORTED; }

static int temperature_c(const gpu_t *g) {
    int file = lock();
    double heat = heat_c(g, now());
    close(file);
    return (int)(g->temperature_c + lround(heat));
}
int nvmlDeviceGetTemperature(gpu_h h, int sensor, unsigned *to) {
    ENTER_GPU();
    if (sensor) return INVALID;
    *to = (unsigned)temperature_c(g);
    return OK;
}
int nvmlDeviceGetTemperatureV(gpu_h h, temperature_t *to) {
    ENTER_GPU();
    if (to->version != VERSION(temperature_t, 1)) return VERSION_MISMATCH;
    if (to->sensor) return INVALID;
    to->celsius = temperature_c(g);
    return OK;
}

int nvmlDeviceGetClockInfo(gpu_h h, unsigned type, unsigned *mhz) {
    ENTER_GPU();
    if (type >= CLOCKS) return INVALID;
    *mhz = (unsigned)(type == CLOCK_MEM ? g->memory_clock_mhz : lround(g->clock_mhz * speed(g)));
    return OK;
}
int nvmlDeviceGetMaxClockInfo(gpu_h h, unsigned type, unsigned *mhz) {
    ENTER_GPU();
    if (type >= CLOCKS) return INVALID;
    *mhz = (unsigned)(type == CLOCK_MEM ? g->memory_clock_mhz : g->clock_mhz);
    return OK;
}

static unsigned running(const gpu_t *g) {
    unsigned n = 0;
    for (int i = 0; i < MAX_PROCESSES; i++) n += g->processes[i] != 0;
    return n;
}
static memory_t memory(const gpu_t *g) {
    unsigned long long used = running(g);
    return (memory_t){(unsigned long long)g->memory_mib << 20, (g->memory_mib - used) << 20, used << 20};
}
int nvmlDeviceGetMemoryInfo(gpu_h h, memory_t *to) { ENTER_GPU(); *to = memory(g); return OK; }
int nvmlDeviceGetMemoryInfo_v2(gpu_h h, memory_v2_t *to) {
    ENTER_GPU();
    if (to->version != VERSION(memory_v2_t, 2)) return VERSION_MISMATCH;
    memory_t m = memory(g);
    *to = (memory_v2_t){to->version, m.total, 0, m.free, m.used};
    return OK;
}
static int list_processes(const gpu_t *g, unsigned *n, process_t *to) {
    unsigned room = *n;
    *n = running(g);
    if (room < *n) return INSUFFICIENT_SIZE;
    for (int i = 0; i < MAX_PROCESSES; i++)
        if (g->processes[i]) *to++ = (process_t){(uint32_t)g->processes[i], 1 << 20, ~0u, ~0u};
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(gpu_h h, unsigned *n, process_t *to) {
    ENTER_GPU();
    return list_processes(g, n, to);
}
/* The second version, which drivers before 510 have alone, has the same layout. */
int fake_processes_v2(gpu_h h, unsigned *n, process_t *to) { ENTER_GPU(); return list_processes(g, n, to); }

int nvmlDeviceGetTotalEnergyConsumption(gpu_h h, unsigned long long *mj) {
    ENTER_GPU();
    if (g->architecture < VOLTA) return NOT_SUPPORTED;
    int file = lock();
    *mj = (unsigned long long)ticked_mj(g, now());
    close(file);
    return OK;
}
int nvmlDeviceGetFieldValues(gpu_h h, int n, field_t *fields) {
    ENTER_GPU();
    for (field_t *f = fields; f < fields + n; f++) {
        int is_power = (f->id == POWER_AVERAGE || f->id == POWER_INSTANT) && !f->scope;
        f->timestamp_us = now() / 1000;
        f->type = UNSIGNED;
        f->code = is_power ? OK : NOT_SUPPORTED;
        f->value.ull = 0;
        f->value.u = is_power ? (uint32_t)power_mw(g) : 0;
    }
    return OK;
}
GET(nvmlDeviceGetPowerUsage, unsigned, power_mw(g))

int nvmlDeviceGetPowerManagementLimitConstraints(gpu_h h, unsigned *min, unsigned *max) {
    ENTER_GPU();
    *min = (unsigned)g->min_mw;
    *max = (unsigned)g->max_mw;
    return OK;
}
GET(nvmlDeviceGetPowerManagementLimit, unsigned, g->told_mw ? g->told_mw : g->limit_mw)
GET(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, g->default_mw)
GET(nvmlDeviceGetEnforcedPowerLimit, unsigned, g->limit_mw)
GET(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, g->throttle)
GET(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, g->throttle)
GET(nvmlDeviceGetPersistenceMode, unsigned, g->persistence)
int nvmlDeviceSetPowerManagementLimit(gpu_h h, unsigned mw) {
    ENTER_GPU();
    if (unprivileged()) return NO_PERMISSION;
    if (mw < g->min_mw || mw > g->max_mw) return INVALID;
    return set(g, LIMIT, mw);
}
int nvmlDeviceSetPersistenceMode(gpu_h h, unsigned on) {
    ENTER_GPU();
    if (unprivileged()) return NO_PERMISSION;
    if (on > 1) return INVALID;
    return set(g, PERSISTENCE, on);
}

/* For the tests: the load of a GPU from now on, and how fast its work goes. */
int fake_set_load(unsigned i, int64_t demand_mw, int64_t static_mw) {
    if (attach()) return NO_DRIVER;
    int file = lock();
    settle(&state->gpu[i]);
    state->gpu[i].demand_mw = demand_mw;
    state->gpu[i].static_mw = static_mw;
    close(file);
    return OK;
}
double fake_speed(unsigned i) { return attach() ? NAN : speed(&state->gpu[i]); }
size_t fake_state_size(void) { return sizeof(state_t); }
