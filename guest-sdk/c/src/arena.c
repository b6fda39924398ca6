/*
 * Memory of the call and of the response: two arenas, each a list of blocks, the newest first. An arena is freed at once;
 * between, only what came after a mark.
 *
 * The host places what it passes through cabi_realloc(), which is the arena of the call: whatever a program gets is freed
 * when the call is over, and nothing has an owner.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The usual size of a block. */
#define BLOCK 16384

typedef struct block {
    struct block *older;
    size_t capacity;
    size_t used;
    char *data;
} block;

/* Enough for most calls, so that those take no memory from malloc(). */
static _Alignas(max_align_t) char first_data[8192];
static block first = {.capacity = sizeof first_data, .data = first_data};

/* Of the call; of the response. */
static block *call = &first;
static block *response = NULL;

static void *take(block **arena, size_t size, size_t align) {
    block *newest = *arena;
    if (newest != NULL) {
        size_t padding = -(size_t)(newest->data + newest->used) & (align - 1);
        size_t left = newest->capacity - newest->used;
        if (padding <= left && size <= left - padding) {
            char *start = newest->data + newest->used + padding;
            newest->used += padding + size;
            return start;
        }
    }
    if (size > SIZE_MAX / 2) {
        __builtin_trap();
    }
    size_t capacity = size + align > BLOCK ? size + align : BLOCK;
    block *fresh = malloc(sizeof *fresh + capacity);
    if (fresh == NULL) {
        /* The host knows that it refused memory, and reports this trap as its end. */
        __builtin_trap();
    }
    *fresh = (block){.older = newest, .capacity = capacity, .data = (char *)(fresh + 1)};
    *arena = fresh;
    return take(arena, size, align);
}

/* Frees the blocks that are newer than `last`. */
static void drop(block **arena, const block *last) {
    while (*arena != last) {
        block *newest = *arena;
        *arena = newest->older;
        free(newest);
    }
}

void *arena_alloc(size_t size, size_t align) {
    return take(&call, size, align);
}

void arena_end_call(void) {
    drop(&call, &first);
    first.used = 0;
}

void arena_end_response(void) {
    drop(&response, NULL);
}

void *rr_alloc(size_t size) {
    return memset(arena_alloc(size, _Alignof(max_align_t)), 0, size);
}

void *rr_keep(size_t size) {
    return memset(take(&response, size, _Alignof(max_align_t)), 0, size);
}

rr_bytes rr_keep_bytes(rr_bytes bytes) {
    if (bytes.data == NULL || bytes.length == SIZE_MAX) {
        return (rr_bytes){0};
    }
    char *copy = take(&response, bytes.length + 1, 1);
    memcpy(copy, bytes.data, bytes.length);
    copy[bytes.length] = 0;
    return (rr_bytes){copy, bytes.length};
}

rr_mark rr_memory(void) {
    return (rr_mark){call, call->used};
}

void rr_release(rr_mark mark) {
    drop(&call, mark.block);
    call->used = mark.used;
}

/* Canonical ABI: memory for what the host passes. A byte more than it asks for, which is zero, ends every text. */
__attribute__((__export_name__("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align,
                                                                    size_t new_size) {
    if (old != NULL && new_size <= old_size) {
        return old;
    }
    if (new_size == SIZE_MAX) {
        __builtin_trap();
    }
    char *fresh = arena_alloc(new_size + 1, align);
    if (old != NULL) {
        memcpy(fresh, old, old_size);
    }
    fresh[new_size] = 0;
    return fresh;
}
