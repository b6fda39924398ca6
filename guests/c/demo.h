/* What app.c has of store.c. */
#ifndef DEMO_H
#define DEMO_H

#include "roadrunner.h"

/* The secret `name`; 404 without a grant. */
rr_response *secret(rr_request *request);

/* One operation on the store `store` (`demo`): on `key`, with the body as the value. */
rr_response *use_store(rr_request *request, rr_bytes operation);

#endif
