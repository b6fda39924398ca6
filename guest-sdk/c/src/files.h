/*
 * The functions of WASI 0.1 that work on an open file, and how a program comes to them.
 */
#ifndef ROADRUNNER_FILES_H
#define ROADRUNNER_FILES_H

#include <stdint.h>

/* Those that wasi.c has a part in. */
#define FUNCTIONS_OF_DESCRIPTORS(X)                                                                                    \
    X(fd_fdstat_get, (int32_t fd, int32_t out), (fd, out))                                                             \
    X(fd_read, (int32_t fd, int32_t vectors, int32_t count, int32_t out), (fd, vectors, count, out))                   \
    X(fd_write, (int32_t fd, int32_t vectors, int32_t count, int32_t out), (fd, vectors, count, out))

/* Those that standard output and error do not have. */
#define FUNCTIONS_OF_FILES(X)                                                                                          \
    X(fd_advise, (int32_t fd, int64_t at, int64_t length, int32_t advice), (fd, at, length, advice))                   \
    X(fd_allocate, (int32_t fd, int64_t at, int64_t length), (fd, at, length))                                         \
    X(fd_close, (int32_t fd), (fd))                                                                                    \
    X(fd_datasync, (int32_t fd), (fd))                                                                                 \
    X(fd_fdstat_set_flags, (int32_t fd, int32_t flags), (fd, flags))                                                   \
    X(fd_fdstat_set_rights, (int32_t fd, int64_t rights, int64_t inheriting), (fd, rights, inheriting))                \
    X(fd_filestat_get, (int32_t fd, int32_t out), (fd, out))                                                           \
    X(fd_filestat_set_size, (int32_t fd, int64_t size), (fd, size))                                                    \
    X(fd_filestat_set_times, (int32_t fd, int64_t access, int64_t change, int32_t flags), (fd, access, change, flags)) \
    X(fd_pread, (int32_t fd, int32_t vectors, int32_t count, int64_t at, int32_t out), (fd, vectors, count, at, out))  \
    X(fd_pwrite, (int32_t fd, int32_t vectors, int32_t count, int64_t at, int32_t out), (fd, vectors, count, at, out)) \
    X(fd_readdir, (int32_t fd, int32_t buffer, int32_t length, int64_t cookie, int32_t out),                           \
      (fd, buffer, length, cookie, out))                                                                               \
    X(fd_renumber, (int32_t fd, int32_t to), (fd, to))                                                                 \
    X(fd_seek, (int32_t fd, int64_t offset, int32_t from, int32_t out), (fd, offset, from, out))                       \
    X(fd_sync, (int32_t fd), (fd))                                                                                     \
    X(fd_tell, (int32_t fd, int32_t out), (fd, out))

#define MEMBER(name, parameters, arguments) int32_t(*name) parameters;
struct file_functions {
    FUNCTIONS_OF_DESCRIPTORS(MEMBER)
    FUNCTIONS_OF_FILES(MEMBER)
};
#undef MEMBER

/* None before the program looks for a file: so that one which never does has nothing of files.c. */
extern const struct file_functions *file_functions;

#endif
