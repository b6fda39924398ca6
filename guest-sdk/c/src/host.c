/*
 * What the host offers: writers, WebSockets, log, configuration, secrets, routes, bus, timers; and its errors.
 */
#include <string.h>

#include "internal.h"

/* The last error of this call from the host; its text is memory of the call. */
static roadrunner_handler_types_error_t last_error;
static rr_status last_status;

rr_status to_status(const roadrunner_handler_types_error_t *error) {
    last_error = *error;
    switch (error->tag) {
    case ROADRUNNER_HANDLER_TYPES_ERROR_CLOSED:
        return last_status = RR_CLOSED;
    case ROADRUNNER_HANDLER_TYPES_ERROR_TIMEOUT:
        return last_status = RR_TIMEOUT;
    case ROADRUNNER_HANDLER_TYPES_ERROR_TOO_LARGE:
        return last_status = RR_TOO_LARGE;
    case ROADRUNNER_HANDLER_TYPES_ERROR_REFUSED:
        return last_status = RR_REFUSED;
    default:
        return last_status = RR_INTERNAL;
    }
}

/* An error that the library itself tells. */
rr_status own_error(rr_status status, rr_bytes text) {
    roadrunner_handler_types_error_t error = {.tag = (uint8_t)(status - RR_CLOSED)};
    if (status == RR_REFUSED || status == RR_INTERNAL) {
        error.val.internal = to_string(text);
    }
    return to_status(&error);
}

/* The host's own error where the program passes one on, so that its text and its limit are not lost. */
roadrunner_handler_types_error_t from_status(rr_status status) {
    if (status == last_status) {
        return last_error;
    }
    roadrunner_handler_types_error_t error = {.tag = (uint8_t)(status - RR_CLOSED)};
    if (status == RR_REFUSED || status == RR_INTERNAL) {
        error.val.internal = to_string(rr_string("reported by the program"));
    }
    return error;
}

void forget_error(void) {
    last_status = RR_OK;
}

rr_bytes rr_error(void) {
    switch (last_status) {
    case RR_OK:
        return rr_string("");
    case RR_CLOSED:
        return rr_string("the other side is gone");
    case RR_TIMEOUT:
        return rr_string("a deadline passed");
    case RR_TOO_LARGE:
        return rr_format("larger than the limit of %llu bytes", (unsigned long long)last_error.val.too_large);
    case RR_REFUSED:
        return from_string(last_error.val.refused);
    default:
        return from_string(last_error.val.internal);
    }
}

uint64_t rr_error_limit(void) {
    return last_status == RR_TOO_LARGE ? last_error.val.too_large : 0;
}

static void write_log(rr_level level, rr_bytes message) {
    bindings_string_t text = to_string(message);
    roadrunner_handler_log_log((roadrunner_handler_log_level_t)level, &text);
}

void rr_log(rr_level level, const char *format, ...) {
    rr_mark mark = rr_memory();
    va_list arguments;
    va_start(arguments, format);
    write_log(level, format_bytes(format, arguments));
    va_end(arguments);
    rr_release(mark);
}

_Noreturn void rr_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_log(RR_LOG_ERROR, format_bytes(format, arguments));
    va_end(arguments);
    __builtin_trap();
}

rr_status rr_write(rr_writer *out, rr_bytes chunk) {
    bindings_list_u8_t list = to_list(chunk);
    roadrunner_handler_types_result_void_error_t result;
    roadrunner_handler_types_method_body_writer_write(out->handle, &list, &result);
    return result.is_err ? to_status(&result.val.err) : RR_OK;
}

void rr_write_trailer(rr_writer *out, const char *name, rr_bytes value) {
    add_field(&out->trailers, name, value);
}

rr_status rr_write_event(rr_writer *out, rr_bytes data) {
    static const char prefix[] = "data: ";
    if (data.length > SIZE_MAX / 16) {
        __builtin_trap();
    }
    rr_mark mark = rr_memory();
    /* At worst every byte is a line break. */
    size_t lines = 1;
    for (size_t at = 0; at < data.length; at++) {
        lines += data.data[at] == '\n' || data.data[at] == '\r';
    }
    char *text = arena_alloc(data.length + lines * sizeof prefix + 1, 1);
    size_t length = 0;
    size_t at = 0;
    do {
        memcpy(text + length, prefix, sizeof prefix - 1);
        length += sizeof prefix - 1;
        while (at < data.length && data.data[at] != '\n' && data.data[at] != '\r') {
            text[length++] = data.data[at++];
        }
        text[length++] = '\n';
        /* CR LF is one line break. */
        if (at + 1 < data.length && data.data[at] == '\r' && data.data[at + 1] == '\n') {
            at++;
        }
        lines = at < data.length;
        at += lines;
    } while (lines);
    text[length++] = '\n';
    rr_status status = rr_write(out, (rr_bytes){text, length});
    if (status == RR_OK) {
        rr_release(mark);
    }
    return status;
}

rr_status rr_send(rr_socket *socket, const rr_socket_message *message) {
    return message->is_text ? rr_send_text(socket, message->bytes) : rr_send_binary(socket, message->bytes);
}

static rr_status send(rr_socket *socket, roadrunner_handler_types_ws_message_t message) {
    roadrunner_handler_types_result_void_error_t result;
    roadrunner_handler_types_method_ws_sender_send(socket->handle, &message, &result);
    return result.is_err ? to_status(&result.val.err) : RR_OK;
}

rr_status rr_send_text(rr_socket *socket, rr_bytes text) {
    return send(socket, (roadrunner_handler_types_ws_message_t){.tag = ROADRUNNER_HANDLER_TYPES_WS_MESSAGE_TEXT,
                                                                .val.text = to_string(text)});
}

rr_status rr_send_binary(rr_socket *socket, rr_bytes bytes) {
    return send(socket, (roadrunner_handler_types_ws_message_t){.tag = ROADRUNNER_HANDLER_TYPES_WS_MESSAGE_BINARY,
                                                                .val.binary = to_list(bytes)});
}

void rr_close(rr_socket *socket, uint16_t code, const char *reason) {
    bindings_string_t text = to_string(rr_string(reason));
    roadrunner_handler_types_method_ws_sender_close(socket->handle, code, &text);
}

rr_bytes rr_config(const char *key) {
    bindings_string_t text = to_string(rr_string(key));
    bindings_option_string_t option;
    roadrunner_handler_config_get(&text, &option);
    return from_option(option);
}

rr_fields rr_config_entries(void) {
    bindings_list_tuple2_string_string_t pairs;
    roadrunner_handler_config_entries(&pairs);
    return from_pairs(pairs);
}

rr_bytes rr_secret(const char *name) {
    bindings_string_t text = to_string(rr_string(name));
    bindings_option_list_u8_t option;
    roadrunner_handler_secrets_get(&text, &option);
    return option.is_some ? from_list(option.val) : (rr_bytes){0};
}

rr_status rr_url_for(const char *route, const rr_field *params, size_t count, rr_bytes *path) {
    *path = (rr_bytes){0};
    bindings_tuple2_string_string_t *pairs = arena_alloc(count * sizeof *pairs, _Alignof(max_align_t));
    for (size_t at = 0; at < count; at++) {
        pairs[at] = (bindings_tuple2_string_string_t){to_string(params[at].name), to_string(params[at].value)};
    }
    bindings_string_t name = to_string(rr_string(route));
    bindings_list_tuple2_string_string_t list = {pairs, count};
    roadrunner_handler_routes_result_string_error_t result;
    roadrunner_handler_routes_url_for(&name, &list, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    *path = from_string(result.val.ok);
    return RR_OK;
}

rr_status rr_subscribe(rr_bytes topic) {
    bindings_string_t name = to_string(topic);
    roadrunner_handler_bus_result_void_error_t result;
    roadrunner_handler_bus_subscribe(&name, &result);
    return result.is_err ? to_status(&result.val.err) : RR_OK;
}

void rr_unsubscribe(rr_bytes topic) {
    bindings_string_t name = to_string(topic);
    roadrunner_handler_bus_unsubscribe(&name);
}

rr_status rr_publish(rr_bytes topic, rr_bytes payload, uint32_t *receivers) {
    bindings_string_t name = to_string(topic);
    bindings_list_u8_t list = to_list(payload);
    roadrunner_handler_bus_result_u32_error_t result;
    roadrunner_handler_bus_publish(&name, &list, &result);
    if (result.is_err) {
        return to_status(&result.val.err);
    }
    if (receivers != NULL) {
        *receivers = result.val.ok;
    }
    return RR_OK;
}

uint64_t rr_timer_after(uint64_t milliseconds) {
    return roadrunner_handler_timers_after(milliseconds);
}

uint64_t rr_timer_every(uint64_t milliseconds) {
    return roadrunner_handler_timers_every(milliseconds);
}

void rr_timer_cancel(uint64_t id) {
    roadrunner_handler_timers_cancel(id);
}
