#include "roadrunner.h"

rr_response *rr_handle(rr_request *request) {
    rr_bytes name = rr_request_param(request, "name");
    return rr_text(200, "hello, %s\n", name.data == NULL ? "world" : name.data);
}
