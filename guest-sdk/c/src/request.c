/*
 * Requests and their bodies, as they stand in the host.
 */
#include <string.h>

#include "internal.h"

/* A request has one body. */
static rr_body body;

rr_bytes rr_request_id(const rr_request *request) {
    bindings_string_t text;
    roadrunner_handler_types_method_request_id(request->handle, &text);
    return from_string(text);
}

rr_bytes rr_request_method(const rr_request *request) {
    bindings_string_t text;
    roadrunner_handler_types_method_request_method(request->handle, &text);
    return from_string(text);
}

rr_bytes rr_request_scheme(const rr_request *request) {
    bindings_string_t text;
    roadrunner_handler_types_method_request_scheme(request->handle, &text);
    return from_string(text);
}

rr_bytes rr_request_authority(const rr_request *request) {
    bindings_string_t text;
    roadrunner_handler_types_method_request_authority(request->handle, &text);
    return from_string(text);
}

rr_bytes rr_request_path(const rr_request *request) {
    bindings_string_t text;
    roadrunner_handler_types_method_request_path(request->handle, &text);
    return from_string(text);
}

rr_bytes rr_request_query(const rr_request *request) {
    bindings_option_string_t option;
    roadrunner_handler_types_method_request_query(request->handle, &option);
    return from_option(option);
}

rr_bytes rr_request_query_value(const rr_request *request, const char *name) {
    return rr_form_value(rr_request_query(request), name);
}

rr_version rr_request_version(const rr_request *request) {
    return (rr_version)roadrunner_handler_types_method_request_version(request->handle);
}

rr_bytes rr_request_peer(const rr_request *request) {
    bindings_string_t text;
    roadrunner_handler_types_method_request_peer(request->handle, &text);
    return from_string(text);
}

rr_bytes rr_request_param(const rr_request *request, const char *name) {
    bindings_string_t key = to_string(rr_string(name));
    bindings_option_string_t option;
    roadrunner_handler_types_method_request_param(request->handle, &key, &option);
    return from_option(option);
}

rr_fields rr_request_params(const rr_request *request) {
    bindings_list_tuple2_string_string_t pairs;
    roadrunner_handler_types_method_request_params(request->handle, &pairs);
    return from_pairs(pairs);
}

rr_bytes rr_request_route(const rr_request *request) {
    bindings_option_string_t option;
    roadrunner_handler_types_method_request_route(request->handle, &option);
    return from_option(option);
}

rr_bytes rr_request_header(const rr_request *request, const char *name) {
    bindings_string_t key = lower_case(name);
    bindings_option_list_u8_t option;
    roadrunner_handler_types_method_request_header(request->handle, &key, &option);
    return option.is_some ? from_list(option.val) : (rr_bytes){0};
}

rr_list rr_request_header_values(const rr_request *request, const char *name) {
    bindings_string_t key = lower_case(name);
    bindings_list_list_u8_t values;
    roadrunner_handler_types_method_request_header_values(request->handle, &key, &values);
    rr_bytes *items = arena_alloc(values.len * sizeof *items, _Alignof(rr_bytes));
    for (size_t at = 0; at < values.len; at++) {
        items[at] = from_list(values.ptr[at]);
    }
    return (rr_list){items, values.len};
}

rr_fields rr_request_headers(const rr_request *request) {
    roadrunner_handler_types_list_field_t fields;
    roadrunner_handler_types_method_request_headers(request->handle, &fields);
    return from_fields(fields.ptr, fields.len);
}

bool rr_request_certificate(const rr_request *request, rr_certificate *certificate) {
    roadrunner_handler_types_option_client_certificate_t option;
    roadrunner_handler_types_method_request_client_certificate(request->handle, &option);
    if (!option.is_some) {
        return false;
    }
    *certificate = (rr_certificate){
        .subject = from_string(option.val.subject),
        .issuer = from_string(option.val.issuer),
        .serial = from_string(option.val.serial),
        .names = from_strings(option.val.names),
        .sha256 = from_string(option.val.sha256),
    };
    return true;
}

bool rr_request_websocket(const rr_request *request, rr_list *subprotocols) {
    roadrunner_handler_types_option_upgrade_t upgrade;
    roadrunner_handler_types_method_request_upgrade(request->handle, &upgrade);
    if (!upgrade.is_some || upgrade.val.tag != ROADRUNNER_HANDLER_TYPES_UPGRADE_WEBSOCKET) {
        return false;
    }
    if (subprotocols != NULL) {
        *subprotocols = from_strings(upgrade.val.val.websocket);
    }
    return true;
}

bool rr_request_webtransport(const rr_request *request) {
    roadrunner_handler_types_option_upgrade_t upgrade;
    roadrunner_handler_types_method_request_upgrade(request->handle, &upgrade);
    return upgrade.is_some && upgrade.val.tag == ROADRUNNER_HANDLER_TYPES_UPGRADE_WEBTRANSPORT;
}

rr_body *rr_request_body(rr_request *request) {
    roadrunner_handler_types_option_own_body_t option;
    roadrunner_handler_types_method_request_body(request->handle, &option);
    if (!option.is_some) {
        return NULL;
    }
    body = (rr_body){option.val, true};
    return &body;
}

rr_status rr_body_read(rr_body *from, void *buffer, size_t size, size_t *length) {
    *length = 0;
    if (from == NULL || size == 0) {
        return RR_OK;
    }
    uint32_t max = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
    rr_mark mark = rr_memory();
    roadrunner_handler_types_result_option_list_u8_error_t result;
    roadrunner_handler_types_method_body_read(roadrunner_handler_types_borrow_body(from->handle), max, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    if (result.val.ok.is_some && result.val.ok.val.len > 0) {
        *length = result.val.ok.val.len;
        memcpy(buffer, result.val.ok.val.ptr, *length);
    }
    /* The host's copy: a body may be longer than memory is. */
    rr_release(mark);
    return RR_OK;
}

rr_status rr_body_read_all(rr_body *from, rr_bytes *bytes) {
    *bytes = (rr_bytes){"", 0};
    if (from == NULL) {
        return RR_OK;
    }
    roadrunner_handler_types_result_list_u8_error_t result;
    roadrunner_handler_types_method_body_read_to_end(roadrunner_handler_types_borrow_body(from->handle), &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    *bytes = from_list(result.val.ok);
    return RR_OK;
}

rr_status rr_body_trailers(rr_body *from, rr_fields *trailers) {
    *trailers = (rr_fields){0};
    if (from == NULL) {
        return RR_OK;
    }
    roadrunner_handler_types_result_list_field_error_t result;
    roadrunner_handler_types_method_body_trailers(roadrunner_handler_types_borrow_body(from->handle), &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    *trailers = from_fields(result.val.ok.ptr, result.val.ok.len);
    return RR_OK;
}

void body_end_response(void) {
    if (body.is_open) {
        body.is_open = false;
        roadrunner_handler_types_body_drop_own(body.handle);
    }
}
