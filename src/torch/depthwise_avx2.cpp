#include "depthwise_templates.h"

PDARTS_DEPTHWISE_DEFINE(avx2)
