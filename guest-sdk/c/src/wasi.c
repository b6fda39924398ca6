/*
 * What the C library asks of its system, over roadrunner:handler and WASI 0.2.
 *
 * wasi-libc calls functions of WASI 0.1. They are defined here, so that a component needs no adapter and holds one
 * module: clocks, sleep and random numbers are the host's, standard output and error become lines of the log, and the
 * environment and the arguments are empty. There are no sockets. Files are those of files.c, for programs that open some.
 * What a program does not use is not linked.
 *
 * Names, numbers and layouts are those of wasi_snapshot_preview1.
 */
#include <string.h>

#include "files.h"
#include "internal.h"

#define SUCCESS 0
#define ERRNO_BADF 8
#define ERRNO_INVAL 28
#define ERRNO_NOSYS 52
#define ERRNO_NOTSUP 58

/*
 * The name by which wasi-libc calls a function, and the one by which those parts of Zig's C library do that are written
 * in Zig.
 */
#define WASI(name) __imported_wasi_snapshot_preview1_##name
#define FOR_ZIG(name)                                                                                                  \
    extern __typeof__(WASI(name)) zig_##name __asm__(#name "|wasi_snapshot_preview1")                                  \
        __attribute__((alias("__imported_wasi_snapshot_preview1_" #name)));

/* Clocks. */
#define REALTIME 0
#define MONOTONIC 1

static uint64_t now(int32_t clock) {
    if (clock == REALTIME) {
        wasi_clocks_wall_clock_datetime_t time;
        wasi_clocks_wall_clock_now(&time);
        return time.seconds * 1000000000u + time.nanoseconds;
    }
    return wasi_clocks_monotonic_clock_now();
}

int32_t WASI(clock_res_get)(int32_t clock, int32_t resolution) {
    (void)clock;
    memcpy((void *)resolution, &(uint64_t){1000}, sizeof(uint64_t));
    return SUCCESS;
}

int32_t WASI(clock_time_get)(int32_t clock, int64_t precision, int32_t time) {
    (void)precision;
    if (clock != REALTIME && clock != MONOTONIC) {
        return ERRNO_INVAL;
    }
    uint64_t value = now(clock);
    memcpy((void *)time, &value, sizeof value);
    return SUCCESS;
}

/* One subscription of poll_oneoff(), if it is to a clock. */
struct subscription {
    uint64_t user_data;
    uint8_t tag;
    _Alignas(8) uint32_t clock;
    uint64_t timeout;
    uint64_t precision;
    uint16_t flags;
};
_Static_assert(sizeof(struct subscription) == 48, "the layout of WASI 0.1");

struct event {
    uint64_t user_data;
    uint16_t error;
    uint8_t type;
    uint64_t bytes;
    uint16_t flags;
};
_Static_assert(sizeof(struct event) == 32, "the layout of WASI 0.1");

/* What sleep() and nanosleep() come to: one subscription to a clock. There is nothing else to wait for. */
int32_t WASI(poll_oneoff)(int32_t in, int32_t out, int32_t count, int32_t ready) {
    const uint16_t absolute = 1;
    struct subscription wanted;
    if (count != 1) {
        return ERRNO_NOTSUP;
    }
    memcpy(&wanted, (const void *)in, sizeof wanted);
    if (wanted.tag != 0) {
        return ERRNO_NOTSUP;
    }
    uint64_t duration = wanted.timeout;
    if (wanted.flags & absolute) {
        uint64_t start = now((int32_t)wanted.clock);
        duration = duration > start ? duration - start : 0;
    }
    wasi_clocks_monotonic_clock_own_pollable_t pollable = wasi_clocks_monotonic_clock_subscribe_duration(duration);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
    struct event done = {.user_data = wanted.user_data};
    memcpy((void *)out, &done, sizeof done);
    memcpy((void *)ready, &(uint32_t){1}, sizeof(uint32_t));
    return SUCCESS;
}

int32_t WASI(sched_yield)(void) {
    return SUCCESS;
}

int32_t WASI(random_get)(int32_t buffer, int32_t length) {
    char *at = (char *)buffer;
    size_t left = (size_t)length;
    while (left > 0) {
        uint64_t random = wasi_random_random_get_random_u64();
        size_t part = left < sizeof random ? left : sizeof random;
        memcpy(at, &random, part);
        at += part;
        left -= part;
    }
    return SUCCESS;
}

/* An empty list of strings: of the arguments, of the environment. */
static int32_t nothing(int32_t count, int32_t size) {
    memset((void *)count, 0, sizeof(uint32_t));
    memset((void *)size, 0, sizeof(uint32_t));
    return SUCCESS;
}

int32_t WASI(args_sizes_get)(int32_t count, int32_t size) {
    return nothing(count, size);
}

int32_t WASI(environ_sizes_get)(int32_t count, int32_t size) {
    return nothing(count, size);
}

int32_t WASI(args_get)(int32_t pointers, int32_t texts) {
    (void)pointers, (void)texts;
    return SUCCESS;
}

int32_t WASI(environ_get)(int32_t pointers, int32_t texts) {
    (void)pointers, (void)texts;
    return SUCCESS;
}

_Noreturn void WASI(proc_exit)(int32_t code) {
    rr_fail("exit(%d): a guest ends by returning from its handler", (int)code);
}

const struct file_functions *file_functions;

/* What a function comes to for a descriptor that is none of the standard ones. */
#define IN_FILE(name, arguments) (fd > 2 && file_functions != NULL ? file_functions->name arguments : ERRNO_BADF)

/* A line of standard output or error that has not ended; a longer one is cut. */
static struct line {
    size_t length;
    char text[512];
} lines[2];

static void end_line(struct line *line, rr_level level) {
    if (line->length > 0) {
        bindings_string_t text = {(uint8_t *)line->text, line->length};
        roadrunner_handler_log_log((roadrunner_handler_log_level_t)level, &text);
        line->length = 0;
    }
}

struct piece {
    const char *data;
    size_t length;
};

/* The contract's text is UTF-8 (RFC 3629); other bytes would end the instance. */
static char printable(char byte) {
    return (unsigned char)byte < 0x80 ? byte : '?';
}

int32_t WASI(fd_write)(int32_t fd, int32_t vectors, int32_t count, int32_t written) {
    if (fd != 1 && fd != 2) {
        return IN_FILE(fd_write, (fd, vectors, count, written));
    }
    struct line *line = &lines[fd - 1];
    rr_level level = fd == 1 ? RR_LOG_INFO : RR_LOG_WARN;
    uint32_t total = 0;
    const struct piece *vector = (const struct piece *)vectors;
    for (int32_t n = 0; n < count; n++, vector++) {
        for (size_t at = 0; at < vector->length; at++) {
            if (vector->data[at] == '\n') {
                end_line(line, level);
                continue;
            }
            if (line->length == sizeof line->text) {
                end_line(line, level);
            }
            line->text[line->length++] = printable(vector->data[at]);
        }
        total += (uint32_t)vector->length;
    }
    memcpy((void *)written, &total, sizeof total);
    return SUCCESS;
}

struct descriptor {
    uint8_t type;
    uint16_t flags;
    uint64_t rights;
    uint64_t inheriting;
};
_Static_assert(sizeof(struct descriptor) == 24, "the layout of WASI 0.1");

/* Standard output and error are terminals, which the C library writes to line by line. */
int32_t WASI(fd_fdstat_get)(int32_t fd, int32_t out) {
    if (fd != 1 && fd != 2) {
        return IN_FILE(fd_fdstat_get, (fd, out));
    }
    const struct descriptor terminal = {.type = 2, .rights = 1 << 6};
    memcpy((void *)out, &terminal, sizeof terminal);
    return SUCCESS;
}

int32_t WASI(fd_read)(int32_t fd, int32_t vectors, int32_t count, int32_t read) {
    if (fd == 0) {
        memset((void *)read, 0, sizeof(uint32_t));
        return SUCCESS;
    }
    return IN_FILE(fd_read, (fd, vectors, count, read));
}

/* What only files have. */
#define PASSED_ON(name, parameters, arguments)                                                                         \
    int32_t WASI(name) parameters;                                                                                     \
    int32_t WASI(name) parameters {                                                                                    \
        return IN_FILE(name, arguments);                                                                               \
    }                                                                                                                  \
    FOR_ZIG(name)
FUNCTIONS_OF_FILES(PASSED_ON)

/* What is not there. */
#define REFUSED(name, parameters)                                                                                      \
    int32_t WASI(name) parameters;                                                                                     \
    int32_t WASI(name) parameters {                                                                                    \
        return ERRNO_NOSYS;                                                                                            \
    }                                                                                                                  \
    FOR_ZIG(name)

/* Parameters without names. */
#pragma clang diagnostic ignored "-Wunknown-warning-option"
#pragma clang diagnostic ignored "-Wc2x-extensions"
#pragma clang diagnostic ignored "-Wc23-extensions"
REFUSED(sock_accept, (int32_t, int32_t, int32_t))
REFUSED(sock_recv, (int32_t, int32_t, int32_t, int32_t, int32_t, int32_t))
REFUSED(sock_send, (int32_t, int32_t, int32_t, int32_t, int32_t))
REFUSED(sock_shutdown, (int32_t, int32_t))

FOR_ZIG(args_get)
FOR_ZIG(args_sizes_get)
FOR_ZIG(clock_res_get)
FOR_ZIG(clock_time_get)
FOR_ZIG(environ_get)
FOR_ZIG(environ_sizes_get)
FOR_ZIG(fd_fdstat_get)
FOR_ZIG(fd_read)
FOR_ZIG(fd_write)
FOR_ZIG(poll_oneoff)
FOR_ZIG(proc_exit)
FOR_ZIG(random_get)
FOR_ZIG(sched_yield)
