#include "table.h"

PDARTS_SEPARABLE_DEFINE(baseline)
