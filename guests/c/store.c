/* The demo's routes for the secret and the store. */
#include <stdlib.h>

#include "demo.h"

rr_response *secret(rr_request *request) {
    rr_bytes name = rr_request_query_value(request, "name");
    rr_bytes secret = rr_secret(name.data == NULL ? "" : name.data);
    /* What a secret is leaves the guest here, because this shows that it is there. */
    return rr_buffered(secret.data == NULL ? 404 : 200, secret);
}

/* 409 with the contract's name of the error. */
static rr_response *failed(rr_status status) {
    switch (status) {
    case RR_CLOSED:
        return rr_text(409, "closed\n");
    case RR_TIMEOUT:
        return rr_text(409, "timeout\n");
    case RR_TOO_LARGE:
        return rr_text(409, "too-large %llu\n", (unsigned long long)rr_error_limit());
    case RR_REFUSED:
        return rr_text(409, "refused\n");
    default:
        return rr_text(409, "internal\n");
    }
}

static rr_response *flag(rr_status status, bool flag) {
    return status == RR_OK ? rr_text(200, "%s\n", flag ? "true" : "false") : failed(status);
}

static long long number(const rr_request *request, const char *name, long long otherwise) {
    rr_bytes value = rr_request_query_value(request, name);
    return value.data == NULL ? otherwise : strtoll(value.data, NULL, 10);
}

static rr_response *get(rr_store *store, rr_bytes key) {
    rr_bytes value;
    rr_status status = rr_store_get(store, key, &value);
    return status == RR_OK ? rr_buffered(value.data == NULL ? 404 : 200, value) : failed(status);
}

static rr_response *increment(rr_store *store, rr_bytes key, int64_t by) {
    int64_t sum;
    rr_status status = rr_store_increment(store, key, by, &sum);
    return status == RR_OK ? rr_text(200, "%lld\n", (long long)sum) : failed(status);
}

/* A page as JSON. */
static rr_response *keys(rr_request *request, rr_store *store, rr_bytes prefix) {
    rr_list keys;
    rr_bytes next;
    rr_bytes cursor = rr_request_query_value(request, "cursor");
    rr_status status = rr_store_keys(store, prefix, cursor, (uint32_t)number(request, "limit", 0), &keys, &next);
    if (status != RR_OK) {
        return failed(status);
    }
    rr_bytes list = rr_string("");
    for (size_t at = 0; at < keys.length; at++) {
        list = rr_format("%s%s%s", list.data, at == 0 ? "" : ",", rr_json_string(keys.items[at]).data);
    }
    const char *quoted = next.data == NULL ? "null" : rr_json_string(next).data;
    rr_response *response = rr_buffered(200, rr_format("{\"keys\":[%s],\"cursor\":%s}", list.data, quoted));
    rr_header(response, "content-type", rr_string("application/json"));
    return response;
}

rr_response *use_store(rr_request *request, rr_bytes operation) {
    rr_bytes name = rr_request_query_value(request, "store");
    rr_bytes given = rr_request_query_value(request, "key");
    rr_bytes key = given.data == NULL ? rr_string("") : given;
    uint64_t ttl = (uint64_t)number(request, "ttl", 0);
    rr_bytes value;
    rr_store *store;
    bool told = false;
    rr_status status = rr_body_read_all(rr_request_body(request), &value);
    if (status != RR_OK) {
        return rr_rejected(status);
    }
    status = rr_store_open(name.data == NULL ? "demo" : name.data, &store);
    if (status != RR_OK) {
        return failed(status);
    }
    if (rr_equal(operation, "get")) {
        return get(store, key);
    }
    if (rr_equal(operation, "set")) {
        status = rr_store_set(store, key, value, ttl);
        return status == RR_OK ? rr_text(200, "done\n") : failed(status);
    }
    if (rr_equal(operation, "set-if")) {
        rr_bytes expected = rr_request_query_value(request, "expected");
        status = rr_store_set_if(store, key, expected, value, ttl, &told);
        return flag(status, told);
    }
    if (rr_equal(operation, "delete")) {
        status = rr_store_delete(store, key, &told);
        return flag(status, told);
    }
    if (rr_equal(operation, "exists")) {
        status = rr_store_exists(store, key, &told);
        return flag(status, told);
    }
    if (rr_equal(operation, "increment")) {
        return increment(store, key, number(request, "by", 1));
    }
    if (rr_equal(operation, "keys")) {
        return keys(request, store, key);
    }
    return rr_text(404, "there is nothing here\n");
}
