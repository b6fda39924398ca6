/*
 * Requests to other servers, over wasi:http. An exchange is open until it is closed or the response is over: a stream may
 * pass on what another server sends.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Both packages have fields as pairs of a text and a list of bytes. */
_Static_assert(sizeof(wasi_http_types_tuple2_field_name_field_value_t) == sizeof(roadrunner_handler_types_field_t),
               "the layout of a field");

struct rr_exchange {
    wasi_http_types_own_future_incoming_response_t answer;
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_own_output_stream_t out;
    wasi_http_types_own_incoming_body_t incoming;
    wasi_http_types_own_input_stream_t in;
    /* Which of these there are. */
    bool has_answer, has_body, has_out, has_incoming;
    /* Scheme and host, for errors. */
    rr_bytes origin;
    rr_exchange *older;
};

/* The newest of those that are open. */
static rr_exchange *newest;

static void close_out(rr_exchange *exchange) {
    if (exchange->has_out) {
        exchange->has_out = false;
        wasi_io_streams_output_stream_drop_own(exchange->out);
    }
}

/* Drops what is left, children first. */
static void drop_all(rr_exchange *exchange) {
    close_out(exchange);
    if (exchange->has_body) {
        exchange->has_body = false;
        wasi_http_types_outgoing_body_drop_own(exchange->body);
    }
    if (exchange->has_incoming) {
        exchange->has_incoming = false;
        wasi_io_streams_input_stream_drop_own(exchange->in);
        wasi_http_types_incoming_body_drop_own(exchange->incoming);
    }
    if (exchange->has_answer) {
        exchange->has_answer = false;
        wasi_http_types_future_incoming_response_drop_own(exchange->answer);
    }
}

static void end_response(void) {
    while (newest != NULL) {
        rr_exchange_close(newest);
    }
}

/* What an error of wasi:http is here. */
static rr_status failed(const rr_exchange *exchange, const wasi_http_types_error_code_t *code) {
    rr_bytes origin = exchange->origin;
    switch (code->tag) {
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED:
        return own_error(RR_REFUSED, rr_format("the manifest does not grant %.*s: add it to `outbound` of the component",
                                               RR_PRINT(origin)));
    case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_IP_PROHIBITED:
        return own_error(RR_REFUSED, rr_format("%.*s has no public address, which `outbound-private = true` of the "
                                               "component would allow",
                                               RR_PRINT(origin)));
    case WASI_HTTP_TYPES_ERROR_CODE_DNS_TIMEOUT:
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TIMEOUT:
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_READ_TIMEOUT:
    case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_WRITE_TIMEOUT:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TIMEOUT:
        return own_error(RR_TIMEOUT, rr_string(""));
    default:
        return own_error(RR_INTERNAL, rr_format("the request to %.*s failed: case %u of wasi:http's error-code",
                                                RR_PRINT(origin), (unsigned)code->tag));
    }
}

static rr_status invalid(const char *what) {
    return own_error(RR_REFUSED, rr_format("%s is not one that a request may have", what));
}

static void wait_for(wasi_io_poll_own_pollable_t pollable) {
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
}

static wasi_http_types_method_t to_method(const char *name) {
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    if (name == NULL) {
        name = known[0];
    }
    for (size_t at = 0; at < sizeof known / sizeof *known; at++) {
        if (strcmp(name, known[at]) == 0) {
            return (wasi_http_types_method_t){.tag = (uint8_t)at};
        }
    }
    return (wasi_http_types_method_t){.tag = WASI_HTTP_TYPES_METHOD_OTHER, .val.other = to_string(rr_string(name))};
}

/* The request without its body; false where a part of it is not one that a request may have. */
static bool to_request(const rr_outgoing *from, rr_bytes host, rr_bytes target, bool is_secure,
                       wasi_http_types_own_outgoing_request_t *made, const char **wrong) {
    field_list fields = {0};
    for (size_t at = 0; at < from->header_count; at++) {
        add_field(&fields, rr_format("%.*s", RR_PRINT(from->headers[at].name)).data, from->headers[at].value);
    }
    wasi_http_types_list_tuple2_field_name_field_value_t entries = {(void *)fields.items, fields.length};
    wasi_http_types_result_own_fields_header_error_t headers;
    wasi_http_types_static_fields_from_list(&entries, &headers);
    *wrong = "a header field";
    if (headers.is_err) {
        return false;
    }
    *made = wasi_http_types_constructor_outgoing_request(headers.val.ok);
    wasi_http_types_borrow_outgoing_request_t request = wasi_http_types_borrow_outgoing_request(*made);
    wasi_http_types_method_t method = to_method(from->method);
    wasi_http_types_scheme_t scheme = {.tag = is_secure ? WASI_HTTP_TYPES_SCHEME_HTTPS : WASI_HTTP_TYPES_SCHEME_HTTP};
    bindings_option_string_t authority = {true, to_string(host)};
    bindings_option_string_t path = {true, to_string(target)};
    wasi_http_types_option_scheme_t some_scheme = {true, scheme};
    wasi_http_types_result_void_void_t result[4];
    wasi_http_types_method_outgoing_request_set_method(request, &method, &result[0]);
    wasi_http_types_method_outgoing_request_set_scheme(request, &some_scheme, &result[1]);
    wasi_http_types_method_outgoing_request_set_authority(request, &authority, &result[2]);
    wasi_http_types_method_outgoing_request_set_path_with_query(request, &path, &result[3]);
    *wrong = result[0].is_err ? "the method" : result[2].is_err ? "the host" : result[3].is_err ? "the path" : NULL;
    if (*wrong == NULL) {
        return true;
    }
    wasi_http_types_outgoing_request_drop_own(*made);
    return false;
}

static wasi_http_types_own_request_options_t to_options(uint64_t milliseconds) {
    wasi_http_types_own_request_options_t options = wasi_http_types_constructor_request_options();
    wasi_http_types_borrow_request_options_t borrowed = wasi_http_types_borrow_request_options(options);
    wasi_http_types_option_duration_t time = {true, milliseconds * 1000000u};
    wasi_http_types_result_void_void_t result;
    wasi_http_types_method_request_options_set_connect_timeout(borrowed, &time, &result);
    wasi_http_types_method_request_options_set_first_byte_timeout(borrowed, &time, &result);
    wasi_http_types_method_request_options_set_between_bytes_timeout(borrowed, &time, &result);
    return options;
}

rr_status rr_exchange_start(const rr_outgoing *outgoing, rr_exchange **exchange) {
    *exchange = NULL;
    rr_bytes url = rr_string(outgoing->url);
    rr_bytes host = rr_after(url, "https://");
    bool is_secure = host.data != NULL;
    if (!is_secure) {
        host = rr_after(url, "http://");
    }
    if (host.data == NULL || host.length == 0) {
        return invalid("a URL without http:// or https://");
    }
    size_t end = 0;
    while (end < host.length && strchr("/?#", host.data[end]) == NULL) {
        end++;
    }
    rr_bytes target = {host.data + end, host.length - end};
    const char *fragment = memchr(target.data, '#', target.length);
    if (fragment != NULL) {
        target.length = (size_t)(fragment - target.data);
    }
    if (target.length == 0 || target.data[0] != '/') {
        target = rr_format("/%.*s", RR_PRINT(target));
    }
    host.length = end;

    const char *wrong;
    wasi_http_types_own_outgoing_request_t request;
    if (!to_request(outgoing, host, target, is_secure, &request, &wrong)) {
        return invalid(wrong);
    }
    rr_exchange *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) {
        /* As in arena.c. */
        __builtin_trap();
    }
    fresh->origin = rr_keep_bytes((rr_bytes){url.data, (size_t)(host.data - url.data) + host.length});
    fresh->older = newest;
    newest = fresh;
    end_exchanges = end_response;

    wasi_http_types_result_own_outgoing_body_void_t body;
    wasi_http_types_method_outgoing_request_body(wasi_http_types_borrow_outgoing_request(request), &body);
    fresh->body = body.val.ok;
    fresh->has_body = true;
    wasi_http_types_result_own_output_stream_void_t out;
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(fresh->body), &out);
    fresh->out = out.val.ok;
    fresh->has_out = true;
    wasi_http_outgoing_handler_option_own_request_options_t options = {.is_some = outgoing->timeout != 0};
    if (options.is_some) {
        options.val = to_options(outgoing->timeout);
    }
    wasi_http_outgoing_handler_result_own_future_incoming_response_error_code_t handled;
    wasi_http_outgoing_handler_handle(request, &options, &handled);
    if (handled.is_err) {
        rr_status status = failed(fresh, &handled.val.err);
        rr_exchange_close(fresh);
        return status;
    }
    fresh->answer = handled.val.ok;
    fresh->has_answer = true;
    *exchange = fresh;
    return outgoing->body.length == 0 ? RR_OK : rr_exchange_write(fresh, outgoing->body);
}

rr_status rr_exchange_write(rr_exchange *exchange, rr_bytes piece) {
    while (exchange->has_out) {
        wasi_io_streams_borrow_output_stream_t out = wasi_io_streams_borrow_output_stream(exchange->out);
        wasi_io_streams_result_u64_stream_error_t room;
        wasi_io_streams_result_void_stream_error_t result = {0};
        if (piece.length == 0) {
            wasi_io_streams_method_output_stream_flush(out, &result);
            if (!result.is_err) {
                return RR_OK;
            }
            break;
        }
        wasi_io_streams_method_output_stream_check_write(out, &room);
        if (room.is_err) {
            break;
        }
        if (room.val.ok == 0) {
            wait_for(wasi_io_streams_method_output_stream_subscribe(out));
            continue;
        }
        size_t length = room.val.ok < piece.length ? (size_t)room.val.ok : piece.length;
        bindings_list_u8_t list = to_list((rr_bytes){piece.data, length});
        wasi_io_streams_method_output_stream_write(out, &list, &result);
        if (result.is_err) {
            break;
        }
        piece.data += length;
        piece.length -= length;
    }
    close_out(exchange);
    return own_error(RR_CLOSED, rr_string(""));
}

rr_status rr_exchange_finish(rr_exchange *exchange) {
    close_out(exchange);
    if (!exchange->has_body) {
        return RR_OK;
    }
    exchange->has_body = false;
    wasi_http_types_option_own_trailers_t none = {0};
    wasi_http_types_result_void_error_code_t result;
    wasi_http_types_static_outgoing_body_finish(exchange->body, &none, &result);
    return result.is_err ? failed(exchange, &result.val.err) : RR_OK;
}

rr_status rr_exchange_response(rr_exchange *exchange, int *status, rr_fields *headers) {
    if (!exchange->has_answer) {
        return own_error(RR_CLOSED, rr_string(""));
    }
    wasi_http_types_borrow_future_incoming_response_t future =
        wasi_http_types_borrow_future_incoming_response(exchange->answer);
    wait_for(wasi_http_types_method_future_incoming_response_subscribe(future));
    wasi_http_types_option_result_result_own_incoming_response_error_code_void_t outcome;
    wasi_http_types_method_future_incoming_response_get(future, &outcome);
    exchange->has_answer = false;
    wasi_http_types_future_incoming_response_drop_own(exchange->answer);
    if (!outcome.is_some || outcome.val.is_err) {
        return own_error(RR_CLOSED, rr_string(""));
    }
    if (outcome.val.val.ok.is_err) {
        return failed(exchange, &outcome.val.val.ok.val.err);
    }
    wasi_http_types_own_incoming_response_t response = outcome.val.val.ok.val.ok;
    wasi_http_types_borrow_incoming_response_t borrowed = wasi_http_types_borrow_incoming_response(response);
    *status = wasi_http_types_method_incoming_response_status(borrowed);
    if (headers != NULL) {
        wasi_http_types_own_fields_t fields = wasi_http_types_method_incoming_response_headers(borrowed);
        wasi_http_types_list_tuple2_field_name_field_value_t entries;
        wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(fields), &entries);
        wasi_http_types_fields_drop_own(fields);
        *headers = from_fields((const void *)entries.ptr, entries.len);
    }
    wasi_http_types_result_own_incoming_body_void_t body;
    wasi_http_types_method_incoming_response_consume(borrowed, &body);
    wasi_http_types_incoming_response_drop_own(response);
    exchange->incoming = body.val.ok;
    wasi_http_types_result_own_input_stream_void_t in;
    wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(exchange->incoming), &in);
    exchange->in = in.val.ok;
    exchange->has_incoming = true;
    return RR_OK;
}

rr_status rr_exchange_read(rr_exchange *exchange, void *buffer, size_t size, size_t *length) {
    *length = 0;
    while (exchange->has_incoming && size > 0 && *length == 0) {
        rr_mark mark = rr_memory();
        wasi_io_streams_result_list_u8_stream_error_t result;
        wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(exchange->in), size, &result);
        if (!result.is_err) {
            *length = result.val.ok.len;
            memcpy(buffer, result.val.ok.ptr, *length);
            /* The host's copy: a body may be longer than memory is. */
            rr_release(mark);
            continue;
        }
        exchange->has_incoming = false;
        rr_status status = RR_OK;
        if (result.val.err.tag == WASI_IO_STREAMS_STREAM_ERROR_LAST_OPERATION_FAILED) {
            wasi_io_error_own_error_t error = result.val.err.val.last_operation_failed;
            wasi_http_types_option_error_code_t code;
            wasi_http_types_http_error_code(wasi_io_error_borrow_error(error), &code);
            status = code.is_some ? failed(exchange, &code.val) : own_error(RR_CLOSED, rr_string(""));
            wasi_io_error_error_drop_own(error);
        }
        wasi_io_streams_input_stream_drop_own(exchange->in);
        wasi_http_types_incoming_body_drop_own(exchange->incoming);
        return status;
    }
    return RR_OK;
}

rr_status rr_exchange_read_all(rr_exchange *exchange, rr_bytes *bytes) {
    size_t capacity = 16384, length = 0, piece;
    char *all = rr_alloc(capacity + 1);
    for (;;) {
        rr_status status = rr_exchange_read(exchange, all + length, capacity - length, &piece);
        if (status != RR_OK) {
            return status;
        }
        if (piece == 0) {
            break;
        }
        length += piece;
        if (length == capacity) {
            char *larger = rr_alloc(2 * capacity + 1);
            memcpy(larger, all, length);
            all = larger;
            capacity *= 2;
        }
    }
    all[length] = 0;
    *bytes = (rr_bytes){all, length};
    return RR_OK;
}

void rr_exchange_close(rr_exchange *exchange) {
    for (rr_exchange **at = &newest; *at != NULL; at = &(*at)->older) {
        if (*at == exchange) {
            *at = exchange->older;
            drop_all(exchange);
            free(exchange);
            return;
        }
    }
}

rr_status rr_ask(const rr_outgoing *outgoing, rr_answer *answer) {
    *answer = (rr_answer){0};
    rr_exchange *exchange;
    rr_status status = rr_exchange_start(outgoing, &exchange);
    if (exchange == NULL) {
        return status;
    }
    /* A server that reads no more may have answered. */
    status = status == RR_OK ? rr_exchange_finish(exchange) : RR_OK;
    if (status == RR_OK) {
        status = rr_exchange_response(exchange, &answer->status, &answer->headers);
    }
    if (status == RR_OK) {
        status = rr_exchange_read_all(exchange, &answer->body);
    }
    rr_exchange_close(exchange);
    return status;
}
