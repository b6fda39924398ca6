/* What app.c has of the other files. */
#ifndef DEMO_H
#define DEMO_H

#include "roadrunner.h"

/* The secret `name`; 404 without a grant. */
rr_response *secret(rr_request *request);

/* One operation on the store `store` (`demo`): on `key`, with the body as the value. */
rr_response *use_store(rr_request *request, rr_bytes operation);

/* outgoing.c: passes on the answer of another server, named by the query. */
rr_response *ask_another(rr_request *request, const char *method);

#endif
