/*
 * What a program does in a WebTransport session; session.c has its callbacks.
 */
#include "internal.h"

typedef roadrunner_handler_types_result_u64_error_t opened;
typedef roadrunner_handler_types_result_void_error_t done;

static rr_status open_status(const opened *result, uint64_t *stream) {
    if (result->is_err) {
        return to_status(&result->val.err);
    }
    *stream = result->val.ok;
    return RR_OK;
}

rr_status rr_wt_open_bidirectional(rr_wt_session *session, uint64_t *stream) {
    opened result;
    roadrunner_handler_types_method_wt_session_open_bidirectional(session->handle, &result);
    return open_status(&result, stream);
}

rr_status rr_wt_open_unidirectional(rr_wt_session *session, uint64_t *stream) {
    opened result;
    roadrunner_handler_types_method_wt_session_open_unidirectional(session->handle, &result);
    return open_status(&result, stream);
}

rr_status rr_wt_send(rr_wt_session *session, uint64_t stream, rr_bytes bytes) {
    bindings_list_u8_t list = to_list(bytes);
    done result;
    roadrunner_handler_types_method_wt_session_send(session->handle, stream, &list, &result);
    return result.is_err ? to_status(&result.val.err) : RR_OK;
}

void rr_wt_finish(rr_wt_session *session, uint64_t stream) {
    roadrunner_handler_types_method_wt_session_finish(session->handle, stream);
}

void rr_wt_reset(rr_wt_session *session, uint64_t stream, uint32_t code) {
    roadrunner_handler_types_method_wt_session_reset(session->handle, stream, code);
}

void rr_wt_stop(rr_wt_session *session, uint64_t stream, uint32_t code) {
    roadrunner_handler_types_method_wt_session_stop(session->handle, stream, code);
}

rr_status rr_wt_send_datagram(rr_wt_session *session, rr_bytes bytes) {
    bindings_list_u8_t list = to_list(bytes);
    done result;
    roadrunner_handler_types_method_wt_session_send_datagram(session->handle, &list, &result);
    return result.is_err ? to_status(&result.val.err) : RR_OK;
}

void rr_wt_close(rr_wt_session *session, uint32_t code, const char *reason) {
    bindings_string_t text = to_string(rr_string(reason));
    roadrunner_handler_types_method_wt_session_close(session->handle, code, &text);
}
