/* The demo's requests to other servers, which the manifest has to grant: /fetch?url=URL and /forward?url=URL. */
#include "demo.h"

/* One call at a time uses it. */
static char buffer[16384];

/* Sends each piece of the other server's answer on as it arrives. */
static rr_status pass_on(rr_writer *out, void *exchange) {
    for (;;) {
        size_t length;
        rr_status status = rr_exchange_read(exchange, buffer, sizeof buffer, &length);
        if (status != RR_OK || length == 0) {
            return status;
        }
        status = rr_write(out, (rr_bytes){buffer, length});
        if (status != RR_OK) {
            return status;
        }
    }
}

/* Sends each piece of the request's body on as it arrives. */
static rr_status send_body(rr_request *request, rr_exchange *exchange) {
    rr_body *body = rr_request_body(request);
    for (;;) {
        size_t length;
        rr_status status = rr_body_read(body, buffer, sizeof buffer, &length);
        if (status == RR_OK && length > 0) {
            status = rr_exchange_write(exchange, (rr_bytes){buffer, length});
        }
        if (status != RR_OK || length == 0) {
            return status;
        }
    }
}

rr_response *ask_another(rr_request *request, const char *method) {
    rr_outgoing outgoing = {.method = method, .url = rr_request_query_value(request, "url").data, .timeout = 5000};
    rr_exchange *exchange;
    int code = 0;
    rr_status status = rr_exchange_start(&outgoing, &exchange);
    if (status == RR_OK) {
        status = send_body(request, exchange);
    }
    if (status == RR_OK) {
        status = rr_exchange_finish(exchange);
    }
    if (status == RR_OK) {
        status = rr_exchange_response(exchange, &code, NULL);
    }
    if (status != RR_OK) {
        return rr_text(502, "%.*s\n", RR_PRINT(rr_error()));
    }
    rr_response *response = rr_stream(code, pass_on, exchange);
    rr_header(response, "x-fetched", rr_string("yes"));
    return response;
}
