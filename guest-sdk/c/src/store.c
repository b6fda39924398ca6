/*
 * Stores of keys and values. One is open until the call from the host is over: it is a resource of the host, of which a
 * session would otherwise collect one with each event.
 */
#include <stdlib.h>

#include "internal.h"

struct rr_store {
    roadrunner_handler_store_own_bucket_t handle;
    rr_store *older;
};

/* The newest of those that are open. They are not memory of the call, which rr_release() frees earlier. */
static rr_store *newest;

static roadrunner_handler_store_borrow_bucket_t bucket(const rr_store *store) {
    return roadrunner_handler_store_borrow_bucket(store->handle);
}

void stores_end_call(void) {
    while (newest != NULL) {
        rr_store *store = newest;
        newest = store->older;
        roadrunner_handler_store_bucket_drop_own(store->handle);
        free(store);
    }
}

rr_status rr_store_open(const char *name, rr_store **store) {
    *store = NULL;
    bindings_string_t text = to_string(rr_string(name));
    roadrunner_handler_store_result_own_bucket_error_t result;
    roadrunner_handler_store_open(&text, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    rr_store *fresh = malloc(sizeof *fresh);
    if (fresh == NULL) {
        /* As in arena.c. */
        __builtin_trap();
    }
    *fresh = (rr_store){result.val.ok, newest};
    *store = newest = fresh;
    return RR_OK;
}

rr_status rr_store_get(rr_store *store, rr_bytes key, rr_bytes *value) {
    *value = (rr_bytes){0};
    bindings_string_t text = to_string(key);
    roadrunner_handler_store_result_option_list_u8_error_t result;
    roadrunner_handler_store_method_bucket_get(bucket(store), &text, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    if (result.val.ok.is_some) {
        *value = from_list(result.val.ok.val);
    }
    return RR_OK;
}

static bindings_option_u64_t to_ttl(uint64_t milliseconds) {
    return (bindings_option_u64_t){milliseconds != 0, milliseconds};
}

rr_status rr_store_set(rr_store *store, rr_bytes key, rr_bytes value, uint64_t ttl) {
    bindings_string_t text = to_string(key);
    bindings_list_u8_t list = to_list(value);
    bindings_option_u64_t life = to_ttl(ttl);
    roadrunner_handler_store_result_void_error_t result;
    roadrunner_handler_store_method_bucket_set(bucket(store), &text, &list, &life, &result);
    return result.is_err ? to_status(&result.val.err) : RR_OK;
}

/* `told` may be NULL. */
static rr_status tell(const roadrunner_handler_store_result_bool_error_t *result, bool *told) {
    if (result->is_err) {
        return to_status(&result->val.err);
    }
    if (told != NULL) {
        *told = result->val.ok;
    }
    return RR_OK;
}

rr_status rr_store_set_if(rr_store *store, rr_bytes key, rr_bytes expected, rr_bytes value, uint64_t ttl, bool *was) {
    bindings_string_t text = to_string(key);
    bindings_option_list_u8_t before = {expected.data != NULL, to_list(expected)};
    bindings_list_u8_t list = to_list(value);
    bindings_option_u64_t life = to_ttl(ttl);
    roadrunner_handler_store_result_bool_error_t result;
    roadrunner_handler_store_method_bucket_set_if(bucket(store), &text, &before, &list, &life, &result);
    return tell(&result, was);
}

rr_status rr_store_delete(rr_store *store, rr_bytes key, bool *was) {
    bindings_string_t text = to_string(key);
    roadrunner_handler_store_result_bool_error_t result;
    roadrunner_handler_store_method_bucket_delete(bucket(store), &text, &result);
    return tell(&result, was);
}

rr_status rr_store_exists(rr_store *store, rr_bytes key, bool *is) {
    bindings_string_t text = to_string(key);
    roadrunner_handler_store_result_bool_error_t result;
    roadrunner_handler_store_method_bucket_exists(bucket(store), &text, &result);
    return tell(&result, is);
}

rr_status rr_store_increment(rr_store *store, rr_bytes key, int64_t delta, int64_t *sum) {
    bindings_string_t text = to_string(key);
    roadrunner_handler_store_result_s64_error_t result;
    roadrunner_handler_store_method_bucket_increment(bucket(store), &text, delta, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    if (sum != NULL) {
        *sum = result.val.ok;
    }
    return RR_OK;
}

rr_status rr_store_keys(rr_store *store, rr_bytes prefix, rr_bytes cursor, uint32_t limit, rr_list *keys,
                        rr_bytes *next) {
    *keys = (rr_list){0};
    *next = (rr_bytes){0};
    bindings_string_t text = to_string(prefix);
    bindings_option_string_t from = {cursor.data != NULL, to_string(cursor)};
    roadrunner_handler_store_result_page_error_t result;
    roadrunner_handler_store_method_bucket_keys(bucket(store), &text, &from, limit, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    *keys = from_strings(result.val.ok.keys);
    *next = from_option(result.val.ok.cursor);
    return RR_OK;
}
