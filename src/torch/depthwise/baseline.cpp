#include "table.h"

PDARTS_DEPTHWISE_DEFINE(baseline)
