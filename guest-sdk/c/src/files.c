/*
 * Files of the directories that a component is granted.
 *
 * The functions are imported from WASI 0.1, and `roadrunner componentize` links the adapter that makes WASI 0.2 of them. A
 * program that opens no file links none of this, and needs no adapter.
 */
#include <stdlib.h>

#include "files.h"

#define WASI(name) __imported_wasi_snapshot_preview1_##name
#define IMPORTED(name, parameters, arguments)                                                                          \
    __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) int32_t adapter_##name parameters;

FUNCTIONS_OF_DESCRIPTORS(IMPORTED)
FUNCTIONS_OF_FILES(IMPORTED)

#define MEMBER(name, parameters, arguments) .name = adapter_##name,
static const struct file_functions adapter = {FUNCTIONS_OF_DESCRIPTORS(MEMBER) FUNCTIONS_OF_FILES(MEMBER)};

/* What begins with a path, or with a directory that is open from the start. */
#define FIRST(name, parameters, arguments)                                                                             \
    IMPORTED(name, parameters, arguments)                                                                              \
    int32_t WASI(name) parameters;                                                                                     \
    int32_t WASI(name) parameters {                                                                                    \
        file_functions = &adapter;                                                                                     \
        return adapter_##name arguments;                                                                               \
    }                                                                                                                  \
    extern __typeof__(WASI(name)) zig_##name __asm__(#name "|wasi_snapshot_preview1")                                  \
        __attribute__((alias("__imported_wasi_snapshot_preview1_" #name)));

#define I int32_t
#define L int64_t
FIRST(fd_prestat_dir_name, (I fd, I path, I length), (fd, path, length))
FIRST(fd_prestat_get, (I fd, I out), (fd, out))
FIRST(path_create_directory, (I fd, I path, I length), (fd, path, length))
FIRST(path_filestat_get, (I fd, I flags, I path, I length, I out), (fd, flags, path, length, out))
FIRST(path_filestat_set_times, (I fd, I flags, I path, I length, L access, L change, I which),
      (fd, flags, path, length, access, change, which))
FIRST(path_link, (I fd, I flags, I path, I length, I to, I name, I name_length),
      (fd, flags, path, length, to, name, name_length))
FIRST(path_open, (I fd, I flags, I path, I length, I how, L rights, L inheriting, I as, I out),
      (fd, flags, path, length, how, rights, inheriting, as, out))
FIRST(path_readlink, (I fd, I path, I length, I buffer, I size, I out), (fd, path, length, buffer, size, out))
FIRST(path_remove_directory, (I fd, I path, I length), (fd, path, length))
FIRST(path_rename, (I fd, I path, I length, I to, I name, I name_length), (fd, path, length, to, name, name_length))
FIRST(path_symlink, (I path, I length, I fd, I name, I name_length), (path, length, fd, name, name_length))
FIRST(path_unlink_file, (I fd, I path, I length), (fd, path, length))

/* The adapter's own memory, which has to last: cabi_realloc() is for what ends with the call. */
__attribute__((export_name("cabi_realloc_adapter"))) void *cabi_realloc_adapter(void *old, size_t old_size, size_t align,
                                                                               size_t size);
void *cabi_realloc_adapter(void *old, size_t old_size, size_t align, size_t size) {
    (void)old, (void)old_size;
    void *memory = aligned_alloc(align, size);
    if (memory == NULL) {
        __builtin_trap();
    }
    return memory;
}
